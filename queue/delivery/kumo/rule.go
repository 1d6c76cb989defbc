package kumo

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/postrider/postrider/queue/delivery/receivers"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/replies"
)

// rule converts an automation rule of a section.
func (c *converter) rule(s *section, p *receivers.Profile, name string, v any) {
	what := describe(name, v)
	table, _ := v.(map[string]any)
	a := Automation{Section: s.String()}
	err := cmp.Or(a.setActions(table["action"]), a.setTrigger(table["trigger"]))
	if text, ok := table["duration"].(string); err == nil && ok {
		a.Duration, err = duration(text)
	} else if err == nil {
		err = errors.New("the duration is missing")
	}
	if err != nil {
		c.problem(s, what, err.Error(), false)
		return
	}
	r := replies.Rule{Name: "kumo " + s.String() + " " + name, Hosts: p.Hosts}
	for _, text := range texts(table["regex"]) {
		re, used, err := compile(text)
		switch {
		case err != nil:
			c.problem(s, fmt.Sprintf("%s: %s", name, text), err.Error(), false)
			continue
		case used != text && !isGuarded(text):
			c.problem(s, fmt.Sprintf("%s: %s", name, text),
				`it matches only replies with a backslash: in a '''literal''' string, "\\" is one`, true)
		}
		r.Regexps, a.Regexps = append(r.Regexps, re), append(a.Regexps, used)
	}
	if len(r.Regexps) == 0 {
		if len(texts(table["regex"])) == 0 {
			c.problem(s, what, "the regex is missing", false)
		}
		return
	}
	r.Reason, r.Scope = meaning(&a)
	if suspends := slices.ContainsFunc(a.Actions, func(a Action) bool { return a.Name == "Suspend" }); suspends &&
		r.Reason == smtp.RateLimited && (p.Recovery.Pause == 0 || a.Duration < p.Recovery.Pause) {
		p.Recovery.Pause = a.Duration
	}
	to := &c.own
	if s.kind == ofAll {
		to = &c.all
	}
	to.rules, to.automation = append(to.rules, r), append(to.automation, a)
}

// describe names a rule by its number and its first expression.
func describe(name string, v any) string {
	table, _ := v.(map[string]any)
	if list := texts(table["regex"]); len(list) > 0 {
		return name + ": " + list[0]
	}
	return name
}

// texts returns a string, or a list of strings.
func texts(v any) (list []string) {
	if s, ok := v.(string); ok {
		return []string{s}
	}
	for _, v := range tableList(v) {
		if s, ok := v.(string); ok {
			list = append(list, s)
		}
	}
	return list
}

var actions = []string{
	"Suspend", "SuspendTenant", "SuspendCampaign", "SetConfig", "SetDomainConfig", "Bounce", "BounceTenant",
	"BounceCampaign",
}

// setActions reads an action, or a list of actions: "Suspend", or {SetConfig={name="connection_limit", value=1}}.
func (a *Automation) setActions(v any) error {
	list := tableList(v)
	if list == nil && v != nil {
		list = []any{v}
	}
	for _, v := range list {
		var one Action
		switch v := v.(type) {
		case string:
			one.Name = v
		case map[string]any:
			for _, name := range actions {
				if table, ok := v[name].(map[string]any); ok && len(v) == 1 {
					one.Name, one.Value = name, table["value"]
					one.Setting, _ = table["name"].(string)
				}
			}
		}
		sets := strings.HasPrefix(one.Name, "Set")
		if !slices.Contains(actions, one.Name) || sets != (one.Setting != "") {
			return fmt.Errorf("action %v: want one of %s", v, strings.Join(actions, ", "))
		}
		a.Actions = append(a.Actions, one)
	}
	if len(a.Actions) == 0 {
		return errors.New("the action is missing")
	}
	return nil
}

// setTrigger reads a trigger: "Immediate", or {Threshold="5/hr"}.
func (a *Automation) setTrigger(v any) error {
	table, _ := v.(map[string]any)
	if v == nil || v == "Immediate" {
		return nil
	}
	threshold, err := rate(table["Threshold"])
	if err != nil {
		return fmt.Errorf("trigger %v: want \"Immediate\", or {Threshold=\"5/hr\"}", v)
	}
	a.Trigger = Trigger{threshold.Messages, threshold.Per}
	return nil
}

// guard is at the head of expressions that aren't for replies of KumoMTA itself. Hosts have no such replies.
const guard = `^(?!.*KumoMTA internal)`

func isGuarded(text string) bool { return strings.HasPrefix(text, guard) }

// compile returns an expression for package regexp, and its text, which may be corrected.
func compile(text string) (re *regexp.Regexp, used string, err error) {
	used = text
	if isGuarded(text) {
		used = "^" + text[len(guard):]
	}
	parsed, err := syntax.Parse(used, syntax.Perl)
	if err != nil {
		for _, look := range []string{"(?=", "(?!", "(?<=", "(?<!", "(?>"} {
			if strings.Contains(used, look) {
				return nil, used, fmt.Errorf("it has lookaround, %q, which package regexp doesn't have", look)
			}
		}
		return nil, used, err
	}
	if wantsBackslash(parsed) {
		used = strings.ReplaceAll(used, `\\`, `\`)
		if parsed, err = syntax.Parse(used, syntax.Perl); err != nil || wantsBackslash(parsed) {
			return nil, text, errors.New("it matches only replies with a backslash, which hosts don't have")
		}
	}
	re, err = regexp.Compile(used)
	return re, used, err
}

// wantsBackslash reports whether whatever an expression matches has a backslash.
func wantsBackslash(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpLiteral:
		return slices.Contains(re.Rune, '\\')
	case syntax.OpCapture, syntax.OpPlus, syntax.OpConcat:
		return slices.ContainsFunc(re.Sub, wantsBackslash)
	}
	return false
}

// meaning returns the Reason and the Scope for the replies of a rule. If the words of its expressions have a cause that
// is more exact, that one counts.
func meaning(a *Automation) (smtp.Reason, replies.Scope) {
	var b strings.Builder
	for _, text := range a.Regexps {
		if parsed, err := syntax.Parse(text, syntax.Perl); err == nil {
			words(&b, parsed)
		}
		b.WriteByte('\n')
	}
	m := replies.Classify(&smtp.Reply{Code: 450, Text: b.String()}, smtp.StageFinal, "")
	vague := m.ByCode || m.Reason == smtp.Temporary || m.Reason == smtp.Network || m.Reason == smtp.Other
	if !vague && m.Reason != smtp.RateLimited {
		return m.Reason, m.Scope
	}
	for _, one := range a.Actions {
		switch {
		case one.Setting == "connection_limit", one.Setting == "max_deliveries_per_connection":
			return smtp.RateLimited, cmp.Or(m.Scope, replies.Connection)
		case strings.HasPrefix(one.Name, "Bounce") && vague:
			return smtp.Other, replies.Unknown
		}
	}
	return smtp.RateLimited, m.Scope
}

// words writes the literal parts of an expression.
func words(b *strings.Builder, re *syntax.Regexp) {
	switch re.Op {
	case syntax.OpLiteral:
		b.WriteString(string(re.Rune))
	case syntax.OpConcat, syntax.OpCapture, syntax.OpPlus:
		for _, sub := range re.Sub {
			words(b, sub)
		}
	default:
		b.WriteByte(' ')
	}
}
