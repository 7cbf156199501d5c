-- purpose: which files of the lake may hold what a narrow reconcile looks for, so that it reads no others.
-- reads: 0001, 0015. Forward only.
-- None of this is a fact: to forget it only makes the next run look at more files, or at everything once more.

-- Between which instants and ids the rows of a file lie, as its footer says: of rows of transactions when they happened, of
-- clicks when they were tracked, and their ids. Null where it does not say.
CREATE TABLE ops.file_span (
    object_path text PRIMARY KEY,
    first_at timestamp,
    last_at timestamp,
    first_id text,
    last_id text
);

-- Of sales with a click reference that the rules do not match to the click of that very id: between which instants the
-- clicks lie that the reference could mean; null if there is none. Where a click only had to be looked for letter for
-- letter, is_bent_known is false.
CREATE TABLE ops.sale_reference (
    sale_id text PRIMARY KEY,
    click_ref text NOT NULL,
    is_bent_known boolean NOT NULL,
    first_at timestamp,
    last_at timestamp
);

-- Files of links are in order of the sale: the first and the last of each file; null where any sale may be in it.
ALTER TABLE ops.sale_link_file ADD COLUMN first_sale_id text, ADD COLUMN last_sale_id text;

GRANT SELECT, INSERT, UPDATE, DELETE ON ops.file_span, ops.sale_reference TO tallyback_pipeline;
