module github.com/postrider/postrider/examples/cluster

go 1.26.0

replace (
	github.com/postrider/postrider => ../..
	github.com/postrider/postrider/examples/pgqueue => ../pgqueue
)

require (
	github.com/jackc/pgx/v5 v5.13.0
	github.com/postrider/postrider v0.0.0-00010101000000-000000000000
	github.com/postrider/postrider/examples/pgqueue v0.0.0-00010101000000-000000000000
)

require (
	github.com/emersion/go-sasl v0.0.0-20241020182733-b788ff22d5a6 // indirect
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/jackc/puddle/v2 v2.2.3 // indirect
	github.com/pires/go-proxyproto v0.15.0 // indirect
	golang.org/x/net v0.62.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/text v0.43.0 // indirect
)
