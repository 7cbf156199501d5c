-- What a sale, its click and its texts are, from the number of the sale alone. $names are filled in by bench.answers.
CREATE MACRO click_id(i) AS
    substr(replace(replace(to_base64(unhex(md5('click' || CAST(i AS VARCHAR)))), '+', '-'), '/', '_'), 1, 22);
CREATE MACRO member_id(i) AS 'u' || CAST(hash(i, 'member') % $members AS VARCHAR);
CREATE MACRO occurred(n) AS
    TIMESTAMP '$first_on' + to_seconds(CAST((n // $per_day) * 86400 + hash(n, 'second') % 86400 AS BIGINT));
CREATE MACRO luck(n) AS CAST(hash(n, 'luck') % 1000 AS INTEGER);
CREATE MACRO clicked(n) AS occurred(n) - to_seconds(CASE
    WHEN luck(n) BETWEEN 995 AND 998 THEN -7200
    WHEN luck(n) BETWEEN 990 AND 994 THEN 45 * 86400
    ELSE CAST(60 + hash(n, 'before') % (5 * 86400) AS BIGINT) END);
CREATE MACRO program_of(i) AS CAST(hash(i, 'program') % 200 AS INTEGER);
CREATE MACRO amount(minor, factor) AS CAST(CAST(minor * factor AS DECIMAL(18, 4)) AS VARCHAR);
CREATE MACRO grouped(t) AS CASE WHEN length(t) > 8 AND t[1] <> '-'
    THEN '"' || t[:length(t) - 8] || ',' || t[length(t) - 7:] || '"' ELSE t END;
CREATE MACRO us_date(sold_at) AS
    CAST(month(sold_at) AS VARCHAR) || '/' || CAST(day(sold_at) AS VARCHAR) || '/' || CAST(year(sold_at) - 2000 AS VARCHAR);
CREATE MACRO us_time(sold_at) AS CAST(hour(sold_at) AS VARCHAR) || strftime(sold_at, ':%M:%S');
CREATE MACRO minute_text(sold_at) AS strftime(sold_at, '%Y-%m-%dT%H:%M:00');
CREATE MACRO second_text(sold_at) AS strftime(sold_at, '%Y-%m-%dT%H:%M:%S');
CREATE MACRO quoted(t) AS coalesce('"' || t || '"', 'null');
CREATE MACRO element(name, t) AS
    CASE WHEN t IS NULL THEN '<' || name || ' xsi:nil="true"/>' ELSE '<' || name || '>' || t || '</' || name || '>' END;

-- Sales by number, as they stand once all of the days before `pending_from` are judged. `part` is 1, or what is taken back.
CREATE MACRO sale(first_n, last_n, pending_from, part) AS TABLE
SELECT n, luck(n) AS luck, program_of(n * $clicks_each) AS program, occurred(n) AS sold_at, clicked(n) AS clicked_at,
    CAST(500 + hash(n, 'sale') % 30000 AS BIGINT) * (CASE WHEN hash(n, 'large') % 50 = 0 THEN 20 ELSE 1 END) * part AS minor,
    CASE WHEN luck(n) = 999 AND n % 2 = 0 THEN 'lost'
         WHEN n // $per_day >= pending_from THEN 'pending'
         WHEN hash(n, 'status') % 12 = 0 THEN 'declined'
         ELSE 'approved' END AS status,
    CASE WHEN luck(n) = 999 AND n % 2 = 1 THEN 'x' ELSE '' END AS wrong,
    CAST(10000 + CASE WHEN luck(n) = 984 THEN (program_of(n * $clicks_each) + 10) % 200
                      ELSE program_of(n * $clicks_each) END AS VARCHAR) AS program_ref,
    'W-' || CAST(CASE WHEN luck(n) BETWEEN 985 AND 989 THEN n + 1 ELSE n END AS VARCHAR) AS order_ref,
    CASE WHEN luck(n) BETWEEN 940 AND 954 THEN NULL
         WHEN luck(n) BETWEEN 955 AND 962 THEN substr(click_id(n * $clicks_each), 1, 16)
         WHEN luck(n) BETWEEN 963 AND 971 THEN lower(click_id(n * $clicks_each))
         WHEN luck(n) BETWEEN 972 AND 983 THEN 'x' || substr(md5('nobody' || CAST(n AS VARCHAR)), 1, 21)
         ELSE click_id(n * $clicks_each) END AS click_ref
FROM range(first_n, last_n) AS t(n);
