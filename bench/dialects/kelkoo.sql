-- A sum of Kelkoo's statistics of clicks.
'<tracking><day>' || CASE status WHEN 'lost' THEN '31 May' ELSE strftime(sold_at, '%Y-%m-%d') END || '</day><Custom1>'
|| click_id(n * $clicks_each) || '</Custom1><clicks>' || CAST(1 + n % 7 AS VARCHAR) || '</clicks><revenue>'
|| amount(minor, 0.00001) || wrong || '</revenue></tracking>'
