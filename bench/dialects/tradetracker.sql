-- A conversion transaction of TradeTracker's SOAP service.
'<item><ID>' || CAST(41000000 + n AS VARCHAR) || '</ID><campaign><ID>' || program_ref || '</ID><name>Shop '
|| program_ref || '</name><URL>https://shop-' || program_ref || '.example/</URL><info xsi:nil="true"/></campaign>'
|| '<campaignProduct><ID>' || CAST(60000 + program AS VARCHAR) || '</ID><name>Default</name></campaignProduct>'
|| element('reference', coalesce(click_ref, '')) || '<transactionType>sale</transactionType>'
|| element('transactionStatus', CASE status WHEN 'approved' THEN 'accepted' WHEN 'declined' THEN 'rejected'
    ELSE status END) || element('description', order_ref) || '<currency>EUR</currency>'
|| element('commission', amount(minor, 0.0005) || wrong) || element('orderAmount', amount(minor, 0.01))
|| '<IP>192.0.2.' || CAST(n % 256 AS VARCHAR) || '</IP>' || element('registrationDate', second_text(sold_at) || '+00:00')
|| element('assessmentDate', CASE WHEN status <> 'pending' THEN second_text(sold_at + INTERVAL 25 DAY) || '+00:00' END)
|| element('clickToConversion', 'PT' || CAST(CAST(abs(epoch(sold_at - clicked_at)) AS BIGINT) AS VARCHAR) || 'S')
|| element('originatingClickDate', second_text(clicked_at) || '+00:00')
|| element('rejectionReason', CASE status WHEN 'declined' THEN 'returned' END) || '<paidOut>false</paidOut></item>'
