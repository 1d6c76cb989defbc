package mx

import (
	"net"
	"testing"

	"github.com/postrider/postrider/smtp"
)

func TestRedirect(t *testing.T) {
	spare, err := Smarthost("spare.test:25")
	if err != nil {
		t.Fatal(err)
	}
	own, err := Smarthost("own.test:25")
	if err != nil {
		t.Fatal(err)
	}
	r := &Router{Routes: map[string]Route{"own.test": own}}
	if site, err := r.Site(t.Context(), own.Name); err != nil || site != own.Name {
		t.Errorf("at first: got %q, %v", site, err)
	}
	if err := r.Redirect("Next.TEST.", &spare); err != nil {
		t.Fatal(err)
	}
	if err := r.Redirect("own.test", &spare); err != nil {
		t.Fatal(err)
	}
	for _, domain := range []string{"next.test", "own.test"} {
		route, err := r.Route(t.Context(), domain)
		name, _ := r.Destination(domain)
		site, siteErr := r.Site(t.Context(), domain)
		if err != nil || siteErr != nil || route.Name != spare.Name || name != spare.Name || site != spare.Name {
			t.Errorf("%s: got route %+v, destination %q and site %q, %v, %v; want the spare", domain, route, name, site, err, siteErr)
		}
	}
	for _, name := range []string{spare.Name, own.Name} { // mail that was queued for a route by its name
		if site, err := r.Site(t.Context(), name); err != nil || site != name {
			t.Errorf("Site(%q): got %q, %v", name, site, err)
		}
	}
	if err := r.Redirect("own.test", nil); err != nil {
		t.Fatal(err)
	}
	if route, err := r.Route(t.Context(), "own.test"); err != nil || route.Name != own.Name {
		t.Errorf("undone: got %+v, %v", route, err)
	}
	refused := explicitly(Refuse(smtp.NewReply(451, "", "moving")))
	if err := r.Redirect("own.test", &refused); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Site(t.Context(), "own.test"); err == nil {
		t.Error("refused: got a site, want the refusal")
	}
	if site, err := r.Site(t.Context(), refused.Name); err != nil || site != refused.Name {
		t.Errorf("Site(%q): got %q, %v", refused.Name, site, err)
	}
	if err := r.Redirect("own.test", nil); err != nil {
		t.Fatal(err)
	}
	if name, err := r.Destination("own.test"); err != nil || name != own.Name {
		t.Errorf("no longer refused: got %q, %v, want %q", name, err, own.Name)
	}
	if r.Redirect("next.test", &Route{}) == nil || r.Redirect("a b", &spare) == nil {
		t.Error("got no error for a route without hosts, or a domain that can't be")
	}
}

// TestSite: domains with the same hosts are one site, in any order of the hosts.
func TestSite(t *testing.T) {
	r := &Router{Resolver: &zone{mx: map[string][]*net.MX{
		"a.test.": records("10 mx1.test.", "20 mx2.test."),
		"b.test.": records("10 mx2.test.", "10 mx1.test."),
		"c.test.": records("10 mx1.test."),
	}}}
	for domain, want := range map[string]string{"a.test": "mx1.test,mx2.test", "b.test": "mx1.test,mx2.test", "c.test": "mx1.test", "d.test": "d.test"} {
		if got, err := r.Site(t.Context(), domain); got != want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", domain, got, err, want)
		}
	}
}
