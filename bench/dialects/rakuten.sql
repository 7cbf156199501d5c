-- A line of Rakuten's item report, with the line break before it.
chr(10) || '"' || coalesce(click_ref, 'null') || '",' || program_ref || ',"Shop ' || program_ref || '",' || order_ref
|| ',' || CASE status WHEN 'lost' THEN '31/31/26' ELSE us_date(sold_at) END || ',' || us_time(sold_at) || ',"SKU\'
|| CAST(hash(n, 'sku') % 100000 AS VARCHAR) || '",' || grouped(amount(minor, 0.01)) || wrong || ',1,'
|| amount(minor, 0.0005) || ',' || us_date(told_at) || ',' || us_time(told_at) || ',"'
|| upper(md5('rakuten' || CAST(n AS VARCHAR) || CAST(told_at AS VARCHAR))) || '","null"'
