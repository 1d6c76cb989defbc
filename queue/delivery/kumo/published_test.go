package kumo

import (
	"os"
	"regexp"
	"testing"
)

// TestPublished reads the two shaping files that KumoMTA publishes. The directory POSTRIDER_KUMOMTA has its source.
func TestPublished(t *testing.T) {
	dir := os.Getenv("POSTRIDER_KUMOMTA")
	if dir == "" {
		t.Skip("POSTRIDER_KUMOMTA isn't set: set it to a directory with the source of KumoMTA")
	}
	names := []string{dir + "/assets/policy-extras/shaping.toml", dir + "/assets/community/shaping.toml"}
	mx := hosts{}
	for _, domain := range []string{"comcast.net", "mail.com", "smtp.mailgun.com", "yahoo.co.jp"} {
		mx[domain+"."] = []string{"mx." + domain}
	}
	s, err := Load(t.Context(), mx, names...)
	if err != nil {
		t.Fatal(err)
	}
	rules, providers := 0, make(map[string]bool)
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		rules += len(regexp.MustCompile(`(?m)^\[\[.*automation\]\]`).FindAll(data, -1))
		for _, m := range regexp.MustCompile(`(?m)^\[provider\."(.*)"\]`).FindAllSubmatch(data, -1) {
			providers[string(m[1])] = true
		}
	}
	for _, p := range s.Receivers {
		delete(providers, p.Name)
	}
	for name := range providers {
		t.Errorf("provider %s is missing", name)
	}
	if used := len(s.Automation); used < rules*95/100 {
		t.Errorf("got %d of %d rules", used, rules)
	}
	t.Logf("%d of %d rules, %d profiles", len(s.Automation), rules, len(s.Receivers))
	for _, p := range s.Problems {
		t.Log("problem:", p)
	}
}
