-- purpose: what is true of one tracked click and must be judged exactly, or beside the other clicks of its file.
-- grain, key: row_number. Reads: click (canonical clicks with a row_number, and the file_number they are from).
-- parameters: known_at.
SELECT
    row_number,
    clicked_at >= TIMESTAMP '2000-01-01 00:00:00'
    AND clicked_at <= CAST($known_at AS TIMESTAMP) + INTERVAL 1 DAY AS is_clicked_plausible,
    click_id IS NULL OR count(*) OVER (PARTITION BY file_number, click_id) = 1 AS is_click_id_once
FROM click
ORDER BY row_number
