package ratelimit_test

import (
	"time"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/ratelimit"
)

// A submission server, on which an account that was taken over can't send much.
func Example() {
	hour := &ratelimit.Limiter{Account: ratelimit.Rate{Messages: 100, Recipients: 500}}
	day := &ratelimit.Limiter{Account: ratelimit.Rate{Messages: 500, Recipients: 2000, Period: 24 * time.Hour}}
	srv := &server.Server{
		// Handler: …, Authenticate: …,
		RequireAuth: true,
		Checks:      []server.Check{hour.Check(), day.Check()},
	}
	_ = srv
}
