package delivery

import (
	"math"
	"testing"
	"time"
)

func TestSiteLimits(t *testing.T) {
	hourly, daily := Rate{1, time.Hour}, Rate{1, 24 * time.Hour}
	tests := []struct {
		name           string
		all, own, want SiteLimits
	}{
		{"defaults", SiteLimits{}, SiteLimits{}, SiteLimits{Concurrency: 20, Initial: 5, Rate: Rate{}}},
		{"for all", SiteLimits{Concurrency: 10, Initial: 8, Rate: hourly}, SiteLimits{}, SiteLimits{Concurrency: 10, Initial: 8, Rate: hourly}},
		{"few", SiteLimits{Concurrency: 2}, SiteLimits{}, SiteLimits{Concurrency: 2, Initial: 2, Rate: Rate{}}},
		{"its own", SiteLimits{Concurrency: 10, Initial: 8, Rate: hourly}, SiteLimits{Concurrency: 30, Initial: 20, Rate: daily}, SiteLimits{Concurrency: 30, Initial: 20, Rate: daily}},
		{"its own, in part", SiteLimits{Concurrency: 10, Initial: 8, Rate: hourly}, SiteLimits{Concurrency: 4}, SiteLimits{Concurrency: 4, Initial: 4, Rate: hourly}},
		{"its own, half a Rate", SiteLimits{Concurrency: 10, Initial: 8, Rate: hourly}, SiteLimits{Rate: Rate{5, 0}}, SiteLimits{Concurrency: 10, Initial: 8, Rate: hourly}},
		{"its own, too many", SiteLimits{}, SiteLimits{Concurrency: 1 << 40}, SiteLimits{Concurrency: 1_000_000, Initial: 5, Rate: Rate{}}},
		{"its own, negative", SiteLimits{Concurrency: 10, Initial: 8, Rate: hourly}, SiteLimits{Concurrency: -1, Initial: -1}, SiteLimits{Concurrency: 10, Initial: 8, Rate: hourly}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &Runner{Site: tt.all, SiteFor: func(site string) SiteLimits {
				if site != "mx.x.test" {
					t.Errorf("asked for %q, want mx.x.test", site)
				}
				return tt.own
			}}
			tt.want.Recovery = Recovery{defaultPause, 1, 1}
			if got := r.siteLimits("mx.x.test"); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if r.SiteFor = nil; tt.own == (SiteLimits{}) && r.siteLimits("mx.x.test") != tt.want {
				t.Errorf("without SiteFor: got %+v, want %+v", r.siteLimits("mx.x.test"), tt.want)
			}
		})
	}
}

func TestRates(t *testing.T) {
	hourly, daily, weekly := Rate{1, time.Hour}, Rate{1, 24 * time.Hour}, Rate{1, 7 * 24 * time.Hour}
	of := func(name string, rate Rate) func(string) Rate {
		return func(got string) Rate { return map[string]Rate{name: rate}[got] }
	}
	none := func(name string) Rate { // one that is no limit
		if name == "ip" {
			return weekly
		}
		return Rate{Messages: -1, Per: time.Hour}
	}
	r := &Runner{Source: hourly, Tenant: daily, SourceFor: none, TenantFor: of("shop", weekly)}
	for _, tt := range []struct {
		name           string
		source, tenant Rate
	}{{"ip", weekly, daily}, {"shop", hourly, weekly}, {"other", hourly, daily}} {
		if source, tenant := r.sourceRate(tt.name), r.tenantRate(tt.name); source != tt.source || tenant != tt.tenant {
			t.Errorf("%s: got %v and %v, want %v and %v", tt.name, source, tenant, tt.source, tt.tenant)
		}
	}
	var b bucket
	slow, now := Rate{1, math.MaxInt64}, int64(24*time.Hour)
	b.take(slow, now)
	if got := b.at(slow); got <= now {
		t.Errorf("the slowest Rate: got the next message at %d, want it after %d", got, now)
	}
}
