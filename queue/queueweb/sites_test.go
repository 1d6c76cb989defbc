package queueweb

import (
	"testing"
	"time"

	"github.com/postrider/postrider/queue/delivery"
)

// TestBinds: of a window, a rate and learned rates, the page says which keeps more from being sent.
func TestBinds(t *testing.T) {
	limits := delivery.SiteLimits{Concurrency: 20}
	paced := delivery.SiteLimits{Concurrency: 20, Rate: delivery.Rate{Messages: 60, Per: time.Hour}}
	learned := func(perHour float64) []delivery.LearnedRate {
		return []delivery.LearnedRate{{Of: "address", PerHour: perHour}}
	}
	paused := []delivery.LearnedRate{{Of: "address", PerHour: 900, Until: time.Now().Add(time.Minute)}}
	tests := []struct {
		name string
		site delivery.SiteActivity
		want string
	}{
		{"idle", delivery.SiteActivity{Window: 5, Limits: paced}, ""},
		{"room", delivery.SiteActivity{Window: 5, InFlight: 4, Destinations: 1, Limits: limits}, ""},
		{"the window", delivery.SiteActivity{Window: 5, InFlight: 5, Limits: limits}, "window"},
		{"the ceiling", delivery.SiteActivity{Window: 20, InFlight: 20, Limits: limits}, "ceiling"},
		{"the rate", delivery.SiteActivity{Window: 5, Destinations: 1, Limits: paced}, "rate"},
		{"the rate, below a learned one", delivery.SiteActivity{Window: 5, Destinations: 1, Limits: paced, Rates: learned(61)}, "rate"},
		{"a learned rate", delivery.SiteActivity{Window: 5, Destinations: 1, Limits: paced, Rates: learned(59)}, "learned rate"},
		{"a learned rate alone", delivery.SiteActivity{Window: 5, Destinations: 1, Limits: limits, Rates: learned(900)}, "learned rate"},
		{"a pause", delivery.SiteActivity{Window: 5, Destinations: 1, Limits: paced, Rates: paused}, "learned rate"},
		{"down", delivery.SiteActivity{Window: 1, InFlight: 1, Destinations: 1, Limits: limits, DownUntil: time.Now()}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.site.Name = "mx.example.net"
			v := newSite(&tt.site, nil)
			if v.Binds != tt.want || len(v.Rates) != len(tt.site.Rates) {
				t.Errorf("got %q and %d rates, want %q and %d", v.Binds, len(v.Rates), tt.want, len(tt.site.Rates))
			}
		})
	}
}
