-- purpose: what a partner's text means: first its form is tested, then it is cast. Loaded before every sql/parse file.
-- why: a bare TRY_CAST rounds, accepts '1_000', ' 12 ' and '1e5', and drops offsets. Here a text that is not exactly of
--      the form is null, and the file that asked turns "text, but no value" into a reject. TRY_CAST stands only behind a
--      form test, for what a form cannot say (30 February) and so that no reordering by the engine can raise.

-- Absent is null, never '' and never blanks: rows that share a blank order reference are not one order.
CREATE OR REPLACE TEMP MACRO present(t) AS CASE WHEN t >= '!' THEN t WHEN NOT regexp_full_match(t, '\s*') THEN t END;

-- An amount with a point and at most 4 decimals that count; more zeros say nothing and are allowed (CAKE sends 14).
CREATE OR REPLACE TEMP MACRO money(t) AS
    CASE WHEN regexp_full_match(t, '-?(0|[1-9][0-9]{0,13})([.][0-9]{1,4}0{0,16})?')
         THEN TRY_CAST(t AS DECIMAL(18, 4)) END;

-- The same where the dialect groups thousands by commas; groups must be whole: '1,234.5' but not '1,23,4'.
CREATE OR REPLACE TEMP MACRO money_grouped(t) AS
    CASE WHEN regexp_full_match(t, '-?[1-9][0-9]{0,2}(,[0-9]{3}){1,4}([.][0-9]{1,4}0{0,16})?')
         THEN TRY_CAST(replace(t, ',', '') AS DECIMAL(18, 4))
         ELSE money(t) END;

CREATE OR REPLACE TEMP MACRO whole(t) AS
    CASE WHEN regexp_full_match(t, '-?(0|[1-9][0-9]{0,17})') THEN TRY_CAST(t AS BIGINT) END;

-- A number that is a name: kept as text, without sign. The word null is no name: two rows that have none are not one.
CREATE OR REPLACE TEMP MACRO identifier(t) AS
    CASE WHEN lower(t) <> 'null' AND regexp_full_match(t, '[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}') THEN t END;

CREATE OR REPLACE TEMP MACRO truth(t) AS CASE t WHEN 'true' THEN true WHEN '1' THEN true WHEN 'false' THEN false WHEN '0' THEN false END;

CREATE OR REPLACE TEMP MACRO currency(t) AS CASE WHEN regexp_full_match(t, '[A-Z]{3}') THEN t END;

-- A macro puts the text of its argument wherever it names it: one used in another is written out many times over, and to
-- plan that took longer than to run it. Where an argument is long and named often, a lambda names its value instead.

-- A wall clock reading as text of 19 to 26 characters, 'YYYY-MM-DD HH:MM:SS[.ffffff]', null if no such day or time is.
CREATE OR REPLACE TEMP MACRO wall_clock(t) AS
    list_transform([t], lambda told:
        CASE WHEN regexp_full_match(told, '(19|20|21)[0-9]{2}-[01][0-9]-[0-3][0-9] ([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,6})?')
             THEN TRY_CAST(told AS TIMESTAMP) END)[1];

-- The same of 'YYYY-MM-DDTHH:MM:SS[.ffffff]'.
CREATE OR REPLACE TEMP MACRO iso_clock(t) AS
    CASE WHEN regexp_full_match(t, '(19|20|21)[0-9]{2}-[01][0-9]-[0-3][0-9]T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,6})?')
         THEN TRY_CAST(t AS TIMESTAMP) END;

-- UTC of a wall clock in a zone. The engine moves a time that the clock skipped in spring; here it is null (a reject).
-- A time that the clock showed twice in autumn is the earlier of the two: a rule, as the text cannot say which. Between
-- the two conversions an instant is its microseconds: a third and a fourth conversion, to UTC and back, are not needed.
CREATE OR REPLACE TEMP MACRO utc_us(wall, zone) AS epoch_us(timezone(zone, wall));
CREATE OR REPLACE TEMP MACRO wall_of_us(us, zone) AS timezone(zone, make_timestamptz(us));
CREATE OR REPLACE TEMP MACRO utc(wall, zone) AS
    CASE WHEN zone = 'UTC' THEN wall ELSE list_transform([wall], lambda shown:
        make_timestamp(list_transform([utc_us(shown, zone)], lambda later:
            CASE WHEN wall_of_us(later, zone) <> shown THEN NULL
                 -- Nearly always no clock was put back in the three hours before: then there is one answer, and it costs a third.
                 WHEN wall_of_us(later - 10800000000, zone) = shown - INTERVAL 3 HOUR THEN later
                 WHEN wall_of_us(later - 7200000000, zone) = shown THEN later - 7200000000
                 WHEN wall_of_us(later - 3600000000, zone) = shown THEN later - 3600000000
                 WHEN wall_of_us(later - 1800000000, zone) = shown THEN later - 1800000000
                 ELSE later END)[1]))[1] END;

-- Minutes east of UTC that '+02:00', '-0330' or 'Z' stand for.
CREATE OR REPLACE TEMP MACRO offset_minutes(t) AS
    CASE WHEN t = 'Z' THEN 0
         WHEN regexp_full_match(t, '[+-](0[0-9]|1[0-4]):?[0-5][0-9]')
         THEN (CASE WHEN t[1] = '-' THEN -1 ELSE 1 END) * (CAST(t[2:3] AS INTEGER) * 60 + CAST(t[-2:] AS INTEGER)) END;

-- 'M/D/YY H:MM:SS' without padding, of this century, as a wall clock's text.
CREATE OR REPLACE TEMP MACRO us_short_text(t) AS
    CASE WHEN regexp_full_match(t, '[0-9]{1,2}/[0-9]{1,2}/[0-9]{2} [0-9]{1,2}:[0-9]{2}:[0-9]{2}')
         THEN '20' || split_part(split_part(t, ' ', 1), '/', 3)
              || '-' || lpad(split_part(t, '/', 1), 2, '0')
              || '-' || lpad(split_part(t, '/', 2), 2, '0')
              || ' ' || lpad(split_part(t, ' ', 2), 8, '0') END;

-- That text as the wall clock it is. Of years that %y takes to be of this century the engine reads it at once.
CREATE OR REPLACE TEMP MACRO us_short_clock(t) AS
    CASE WHEN regexp_full_match(t, '[0-9]{1,2}/[0-9]{1,2}/[0-5][0-9] ([01]?[0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]')
         THEN try_strptime(t, '%m/%d/%y %H:%M:%S')
         ELSE wall_clock(us_short_text(t)) END;

-- An instant (UTC) of a text YYYY-MM-DDTHH:MM:SS[.ffffff] as the clock of the zone showed it. A macro for each form: of
-- one that is told its form, all forms would be planned wherever it stands, and thrown away.
CREATE OR REPLACE TEMP MACRO instant_iso(t, zone) AS utc(iso_clock(t), zone);

-- The same with Z or an offset, which counts; without one, as the clock of the zone showed it. Nearly always the offset is
-- of a form that the engine reads as well.
CREATE OR REPLACE TEMP MACRO instant_iso_offset(t, zone) AS
    CASE WHEN regexp_full_match(t, '(19|20|21)[0-9]{2}-[01][0-9]-[0-3][0-9]T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,6})?(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])')
         THEN make_timestamp(epoch_us(TRY_CAST(t AS TIMESTAMPTZ)))
         WHEN t[11] <> 'T' THEN NULL
         WHEN regexp_matches(t, '(Z|[+-][0-9:]+)$') AND length(t) > 19
         THEN wall_clock(replace(regexp_extract(t, '^(.*?)(Z|[+-][0-9:]+)$', 1), 'T', ' '))
              - to_minutes(offset_minutes(regexp_extract(t, '(Z|[+-][0-9:]+)$', 1)))
         ELSE utc(iso_clock(t), zone) END;

-- The same of M/D/YY HH:MM:SS as the clock of the zone showed it.
CREATE OR REPLACE TEMP MACRO instant_us_short(t, zone) AS utc(us_short_clock(t), zone);

-- A fault of a row: what the reject will say. Values are cut, as a reject is for people.
CREATE OR REPLACE TEMP MACRO fault(rule, column_name, v, reason) AS
    struct_pack(rule := rule, column_name := column_name, value := left(v, 200), reason := reason);
CREATE OR REPLACE TEMP MACRO needed(column_name, t) AS
    CASE WHEN t IS NULL THEN fault('missing', column_name, NULL, column_name || ' is missing') END;
CREATE OR REPLACE TEMP MACRO readable(column_name, t, v) AS
    CASE WHEN t IS NOT NULL AND v IS NULL
         THEN fault('malformed', column_name, t, column_name || ' cannot be read exactly') END;
CREATE OR REPLACE TEMP MACRO known(column_name, t, v) AS
    CASE WHEN t IS NOT NULL AND v IS NULL
         THEN fault('unknown', column_name, t, column_name || ' is a word this parse version does not know') END;

-- Of a column that must be told: what it was read as, if anything, says that it was told, so nearly always that is all to ask.
CREATE OR REPLACE TEMP MACRO needed_readable(column_name, t, v) AS
    CASE WHEN v IS NULL THEN coalesce(needed(column_name, present(t)), readable(column_name, t, v)) END;
CREATE OR REPLACE TEMP MACRO needed_known(column_name, t, v) AS
    CASE WHEN v IS NULL THEN coalesce(needed(column_name, present(t)), known(column_name, t, v)) END;

-- Content hash (docs/content-hash.md): a fixed list of business columns in a fixed order, each with its name, texts with
-- their length, nulls omitted. No key, no provenance, no program_id (resolved later).
CREATE OR REPLACE TEMP MACRO hashed_text(n, t) AS CASE WHEN t IS NOT NULL THEN concat(n, length(t), ':', t, ';') END;
CREATE OR REPLACE TEMP MACRO hashed_value(n, v) AS CASE WHEN v IS NOT NULL THEN concat(n, '=', v, ';') END;
CREATE OR REPLACE TEMP MACRO content_hash(r) AS sha256(concat(
    hashed_text('kind', r.kind),
    hashed_text('original_transaction_id', r.original_transaction_id),
    hashed_text('order_ref', r.order_ref),
    hashed_text('partner_program_id', r.partner_program_id),
    hashed_text('click_ref', r.click_ref),
    hashed_value('partner_clicked_at', epoch_us(r.partner_clicked_at)),
    hashed_value('occurred_at', epoch_us(r.occurred_at)),
    hashed_value('processed_at', epoch_us(r.processed_at)),
    hashed_value('modified_at', epoch_us(r.modified_at)),
    hashed_text('status', r.status),
    hashed_text('raw_status', r.raw_status),
    hashed_value('partner_paid', r.partner_paid),
    hashed_text('payment_ref', r.payment_ref),
    hashed_text('reason', r.reason),
    hashed_value('sale_amount', r.sale_amount),
    hashed_value('commission_amount', r.commission_amount),
    hashed_text('currency', r.currency),
    hashed_text('commission_group', r.commission_group),
    hashed_text('customer_type', r.customer_type)
));
