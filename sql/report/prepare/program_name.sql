-- purpose: the newest name of each program.
-- grain, key: program_id. Reads: ref.program.
SELECT DISTINCT ON (program_id) program_id, name
FROM ref.program
ORDER BY program_id, valid_from DESC
