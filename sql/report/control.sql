-- purpose: every check of the report with what was expected, what was found and the difference; differences first.
-- grain, key: name, unit. Reads: report_control.
SELECT CASE WHEN is_equal THEN 'holds' ELSE 'DIFFERS' END AS outcome, name, expected, actual, difference, unit
FROM report_control
ORDER BY is_equal, place, name, unit
