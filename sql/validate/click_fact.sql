-- purpose: what is true of one tracked click and must be judged exactly.
-- grain, key: row_number. Reads: click (canonical clicks with a row_number). Parameters: known_at.
SELECT
    row_number,
    clicked_at >= TIMESTAMP '2000-01-01 00:00:00'
    AND clicked_at <= CAST($known_at AS TIMESTAMP) + INTERVAL 1 DAY AS is_clicked_plausible
FROM click
ORDER BY row_number
