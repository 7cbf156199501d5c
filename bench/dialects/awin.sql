-- A transaction of Awin's publisher API, with the comma before it.
',{"id":' || CAST(700000000 + n AS VARCHAR) || ',"url":"https://shop-' || program_ref || '.example/","advertiserId":'
|| program_ref || ',"publisherId":50123,"commissionSharingPublisherId":null,'
|| '"commissionSharingSelectedRatePublisherId":null,"siteName":"Cashback site","commissionStatus":"' || status
|| '","commissionAmount":{"amount":' || amount(minor, 0.0005) || ',"currency":"EUR"},"saleAmount":{"amount":'
|| CASE wrong WHEN 'x' THEN '"?"' ELSE amount(minor, 0.01) END || ',"currency":"EUR"},"ipHash":"-'
|| CAST(hash(n, 'ip') AS VARCHAR) || '","customerCountry":"DE","clickRefs":'
|| coalesce('{"clickRef":"' || click_ref || '"}', 'null') || ',"clickDate":"' || minute_text(clicked_at)
|| '","transactionDate":"' || minute_text(sold_at) || '","validationDate":'
|| CASE status WHEN 'pending' THEN 'null' ELSE '"' || minute_text(sold_at + INTERVAL 25 DAY) || '"' END
|| ',"type":"Commission group transaction","declineReason":'
|| CASE status WHEN 'declined' THEN '"Order returned"' ELSE 'null' END
|| ',"voucherCodeUsed":false,"voucherCode":null,"lapseTime":' || CAST(CAST(epoch(sold_at - clicked_at) AS BIGINT) AS VARCHAR)
|| ',"amended":false,"amendReason":null,"oldSaleAmount":null,"oldCommissionAmount":null,"clickDevice":"Windows",'
|| '"transactionDevice":"Windows","customerAcquisition":' || CASE n % 3 WHEN 0 THEN '"new"' ELSE 'null' END
|| ',"publisherUrl":"https://cashback.example/","advertiserCountry":"DE","orderRef":"' || order_ref
|| '","customParameters":[],"transactionParts":[{"commissionGroupId":' || CAST(900 + program AS VARCHAR)
|| ',"amount":' || amount(minor, 0.01) || ',"commissionAmount":' || amount(minor, 0.0005)
|| ',"commissionGroupCode":"DEFAULT","commissionGroupName":"Default commission"}],"paidToPublisher":false,'
|| '"paymentId":0,"transactionQueryId":0,"trackedCurrencyAmount":null,"originalSaleAmount":null,"basketProducts":null}'
