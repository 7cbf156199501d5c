-- A commission record of CJ, with the comma before it.
',{"commissionId":"' || CAST(3001000000 + 2 * n + CAST(minor < 0 AS INTEGER) AS VARCHAR) || '","originalActionId":"'
|| CAST(880000000 + n AS VARCHAR) || '","original":' || CASE WHEN minor < 0 THEN 'false' ELSE 'true' END
|| ',"correctionReason":' || CASE WHEN minor < 0 THEN '"RETURNED_MERCHANDISE"' ELSE 'null' END
|| ',"actionStatus":"' || CASE status WHEN 'pending' THEN 'new' WHEN 'lost' THEN 'lost' ELSE 'locked' END
|| '","actionType":"item_sale","validationStatus":"ACCEPTED","advertiserId":"' || program_ref || '","orderId":"'
|| order_ref || '","shopperId":' || quoted(click_ref) || ',"eventDate":"' || second_text(sold_at)
|| 'Z","postingDate":"' || second_text(told_at) || 'Z","clickDate":"' || second_text(clicked_at)
|| 'Z","saleAmountPubCurrency":"' || amount(minor, 0.01) || wrong || '","pubCommissionAmountPubCurrency":"'
|| amount(minor, 0.0005) || '"}'
