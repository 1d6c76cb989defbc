package kumo

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/delivery/receivers"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/replies"
)

// converter turns sections into a Shaping. rules and automation have the same length.
type converter struct {
	resolver Resolver

	out       Shaping
	domains   receivers.List
	providers receivers.List
	own       converted // of providers and domains
	all       converted // of the section "default"
}

type converted struct {
	rules      []replies.Rule
	automation []Automation
}

func (c *converter) problem(s *section, what, why string, corrected bool) {
	c.out.Problems = append(c.out.Problems, Problem{s.String(), what, why, corrected})
}

func (c *converter) ignore(s *section, what, why string) {
	c.out.Ignored = append(c.out.Ignored, Problem{Section: s.String(), What: what, Why: why})
}

// section converts a section.
func (c *converter) section(ctx context.Context, s *section) {
	p := receivers.Profile{Name: s.name}
	switch s.kind {
	case provider:
		p.Hosts = c.matches(s)
		if len(p.Hosts) == 0 {
			c.dead(s, "the provider has no hosts in any file, so that no mail belongs to it")
			return
		}
	case domain:
		if !c.lookUp(ctx, s, &p) {
			return
		}
	}
	c.settings(s, &p)
	for i, v := range s.rules {
		c.rule(s, &p, fmt.Sprintf("rule %d", i+1), v)
	}
	switch s.kind {
	case provider:
		c.providers = append(c.providers, p)
	case domain:
		c.domains = append(c.domains, p)
	case ofAll:
		c.out.Default = p
	}
}

// dead reports a section that applies to nothing, and each of its rules.
func (c *converter) dead(s *section, why string) {
	if len(s.rules) == 0 {
		what := "match"
		if s.kind == domain {
			what = "the section"
		}
		c.problem(s, what, why, false)
	}
	for i, v := range s.rules {
		c.problem(s, describe(fmt.Sprintf("rule %d", i+1), v), why, false)
	}
}

// matches returns the ends of the host names of a provider.
func (c *converter) matches(s *section) (hosts []string) {
	for _, v := range s.matches {
		table, _ := v.(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(table)) {
			value, _ := table[key].(string)
			what := fmt.Sprintf("match {%s=%q}", key, table[key])
			host := strings.ToLower(strings.TrimPrefix(value, "."))
			switch {
			case key == "DomainSuffix":
				c.ignore(s, what, "receivers are known by their hosts, not by domains")
				continue
			case key != "MXSuffix" && key != "HostName":
				c.problem(s, what, "there is no such match", false)
				continue
			case strings.HasSuffix(host, "."):
				host = strings.TrimRight(host, ".")
				c.problem(s, what, "KumoMTA compares it with names without a dot at the end, none of which match", true)
			}
			if smtp.CheckAddress("a@"+host) != nil {
				c.problem(s, what, "it is no end of a host's name", false)
				continue
			}
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// lookUp sets the hosts of the section of a domain. It reports whether there are any.
func (c *converter) lookUp(ctx context.Context, s *section, p *receivers.Profile) bool {
	if rollup, ok := s.settings["mx_rollup"].(bool); ok && !rollup {
		c.ignore(s, "mx_rollup = false", "limits are for sites, not for single domains")
		return false
	}
	if !strings.Contains(s.name, ".") {
		c.dead(s, "a domain without a dot: write it in quotes, [\"example.com\"]")
		return false
	}
	if c.resolver == nil {
		c.ignore(s, "the section", "there is no Resolver to look up its hosts")
		return false
	}
	list, err := c.resolver.LookupMX(ctx, strings.TrimSuffix(s.name, ".")+".")
	if err != nil {
		c.dead(s, fmt.Sprintf("the hosts of the domain can't be looked up: %v", err))
		return false
	}
	for _, record := range list {
		if host := strings.ToLower(strings.TrimSuffix(record.Host, ".")); smtp.CheckAddress("a@"+host) == nil {
			p.Hosts = append(p.Hosts, host)
		}
	}
	if len(p.Hosts) == 0 { // RFC 7505: a null MX
		c.dead(s, "the domain has no hosts for mail")
	}
	return len(p.Hosts) > 0
}

// settings sets the fields of a Profile.
func (c *converter) settings(s *section, p *receivers.Profile) {
	for _, key := range slices.Sorted(maps.Keys(s.settings)) {
		v, err := s.settings[key], error(nil)
		switch key {
		case "connection_limit", "provider_connection_limit":
			var n int
			if n, err = limit(v); err == nil && (p.Connections == 0 || n < p.Connections) {
				p.Connections = n
			}
		case "max_message_rate", "provider_max_message_rate":
			var r delivery.Rate
			if r, err = rate(v); err == nil && (p.Rate.Messages == 0 || perSecond(r) < perSecond(p.Rate)) {
				p.Rate = r
			}
		case "max_deliveries_per_connection":
			p.Messages, err = limit(v)
		case "mx_rollup":
			continue // true
		default:
			c.ignore(s, key, "this setting has no counterpart")
			continue
		}
		what := fmt.Sprintf("%s = %v", key, v)
		if err != nil {
			c.problem(s, what, err.Error(), false)
			continue
		}
		p.Rules = append(p.Rules, receivers.Rule{Text: what, Title: "KumoMTA's shaping files: " + s.String()})
	}
}

func perSecond(r delivery.Rate) float64 { return float64(r.Messages) / r.Per.Seconds() }

// finish puts the parts together. What a domain's section leaves open is as at its provider.
func (c *converter) finish() *Shaping {
	for i := range c.domains {
		p := &c.domains[i]
		if of, ok := c.providers.Site(strings.Join(p.Hosts, ",")); ok {
			p.Connections = cmp.Or(p.Connections, of.Connections)
			p.Messages = cmp.Or(p.Messages, of.Messages)
			p.Rate = cmp.Or(p.Rate, of.Rate)
			p.Recovery = cmp.Or(p.Recovery, of.Recovery)
		}
	}
	out := &c.out
	out.Receivers = append(c.domains, c.providers...)
	out.Replies = append(c.own.rules, c.all.rules...)
	out.Automation = append(c.own.automation, c.all.automation...)
	return out
}
