package kumo

import (
	"fmt"
	"time"

	"github.com/postrider/postrider/queue/delivery/receivers"
	"github.com/postrider/postrider/smtp/replies"
)

// Shaping is what shaping files say.
type Shaping struct {
	// Receivers has a Profile for each provider, in the order of the files, and then for each domain.
	Receivers receivers.List

	// Default is the section "default", for all sites. It has no Hosts, so it isn't for a List.
	Default receivers.Profile

	// Replies has a rule for each automation rule that works: those of providers and domains, then those for all.
	Replies []replies.Rule

	// Automation has all automation rules that work, in the order of Replies.
	Automation []Automation

	// Problems are what is wrong in the files.
	Problems []Problem

	// Ignored are settings without a counterpart, misspelt ones too, and sections of domains if there is no Resolver.
	Ignored []Problem
}

// Automation is an automation rule of KumoMTA.
type Automation struct {
	Section  string   // "provider yahoo", "domain comcast.net", or "default"
	Regexps  []string // as they are in the file, or corrected
	Actions  []Action
	Trigger  Trigger
	Duration time.Duration // of the actions
}

// Action is what KumoMTA does when a rule is triggered.
type Action struct {
	Name    string // "Suspend", "SuspendTenant", "SetConfig", "Bounce" and others
	Setting string // of SetConfig and SetDomainConfig: its name
	Value   any    // and value: a string, an int64 or a bool
}

// Trigger is how many replies have to match before a rule acts. The zero Trigger is one reply.
type Trigger struct {
	Count int
	Per   time.Duration
}

// Problem is something in a file that doesn't work, or isn't used.
type Problem struct {
	Section   string // "provider yahoo"
	What      string // the rule or the setting: "rule 2: \\[TS02\\]"
	Why       string
	Corrected bool // it is used, with the mistake corrected
}

// String returns all of it on one line.
func (p Problem) String() string {
	s := fmt.Sprintf("%s: %s: %s", p.Section, p.What, p.Why)
	if p.Corrected {
		s += " (corrected)"
	}
	return s
}
