package inbox

import (
	"encoding"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/internal/web"
)

// switchesView are the switches as a form has them: one rule in a line. JSON has them as lists.
type switchesView struct {
	Refuse   []string `json:"refuse"`
	Greylist string   `json:"greylist"`
	Quotas   []string `json:"quotas"`
	Stalls   []string `json:"stalls"`
	SevenBit bool     `json:"seven_bit"`
}

// rulesOf writes rules. They are valid.
func rulesOf[T encoding.TextMarshaler](rules []T) []string {
	lines := []string{}
	for _, rule := range rules {
		b, _ := rule.MarshalText()
		lines = append(lines, string(b))
	}
	return lines
}

func newSwitchesView(s Switches) switchesView {
	v := switchesView{
		Refuse: rulesOf(s.Refuse), Quotas: rulesOf(s.Quotas), Stalls: rulesOf(s.Stalls), SevenBit: s.SevenBit,
	}
	if s.Greylist > 0 {
		v.Greylist = span(s.Greylist)
	}
	return v
}

// switchedOn has a line for each switch that is on.
func switchedOn(s Switches) []string {
	v := newSwitchesView(s)
	var on []string
	add := func(what string, lines []string) {
		for _, line := range lines {
			on = append(on, what+" "+line)
		}
	}
	add("refuse", v.Refuse)
	if v.Greylist != "" {
		on = append(on, "greylist for "+v.Greylist)
	}
	add("quota", v.Quotas)
	add("stall", v.Stalls)
	if v.SevenBit {
		on = append(on, "7-bit mail only")
	}
	return on
}

func (in *Inbox) switchesPage(*request) (any, error) { return new(newSwitchesView(in.Switches())), nil }

// readRules reads the lines of a field. Empty ones are skipped.
func readRules[T any, P interface {
	*T
	encoding.TextUnmarshaler
}](text string) (rules []T, err error) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		var rule T
		if err := P(&rule).UnmarshalText([]byte(line)); err != nil {
			return nil, web.Bad("%v.", err)
		}
		if rules = append(rules, rule); len(rules) > maxRules {
			return nil, web.Bad("There are more than %d rules.", maxRules)
		}
	}
	return rules, nil
}

// switches reads the form. A field that isn't given switches off.
func (r *request) switches() (s Switches, err error) {
	if s.Refuse, err = readRules[Refusal](r.Get("refuse")); err != nil {
		return s, err
	}
	if s.Quotas, err = readRules[Quota](r.Get("quotas")); err != nil {
		return s, err
	}
	if s.Stalls, err = readRules[Stall](r.Get("stalls")); err != nil {
		return s, err
	}
	if text := r.Get("greylist"); text != "" {
		if s.Greylist, err = time.ParseDuration(text); err != nil {
			return s, web.Bad("greylist=%s: want a duration such as 5m.", web.Cut(text, web.MaxText))
		}
	}
	s.SevenBit = r.Get("seven_bit") == "true"
	if err := s.Check(); err != nil {
		return s, web.Bad("%s.", strings.TrimPrefix(err.Error(), "inbox: "))
	}
	return s, nil
}

// actView is a confirmation, or what an action has done.
type actView struct {
	Do       string `json:"action"`
	ID       string `json:"id,omitempty"`
	Messages int    `json:"messages"` // that the action removes or has removed
	Done     bool   `json:"done"`
	Result   string `json:"result,omitempty"`
}

func (v *actView) PageTitle() string {
	if v.Done {
		return "Done"
	}
	return "Confirm"
}

func (in *Inbox) act(r *request) (any, error) {
	v := &actView{Do: r.Get("do"), ID: web.Cut(r.Get("id"), web.MaxText), Done: r.Method == http.MethodPost}
	var err error
	switch v.Do {
	case "delete":
		if v.Messages = 1; !v.Done {
			_, err = in.Message(r.Get("id"))
			break
		}
		err = in.Delete(r.Get("id"))
		v.Result = "The message was deleted."
	case "clear":
		if !v.Done {
			v.Messages = len(in.Messages(Filter{}))
			break
		}
		v.Messages = in.Clear()
		v.Result = web.Plural(v.Messages, "message was", "messages were") + " deleted."
	case "switches":
		if !v.Done {
			return nil, web.Bad("Switches are set by a form: see the page of the switches.")
		}
		var s Switches
		if s, err = r.switches(); err == nil {
			err = in.SetSwitches(s)
		}
		if v.Result = "The switches are set: all mail is accepted."; len(switchedOn(s)) > 0 {
			v.Result = "The switches are set: " + strings.Join(switchedOn(s), "; ") + "."
		}
	default:
		err = web.Bad("do=%s: there is no such action. The actions are delete, clear and switches.",
			web.Cut(v.Do, web.MaxText))
	}
	if err != nil {
		return nil, err
	}
	if v.Done {
		guard.Logger(in.Logger).LogAttrs(r.Context(), slog.LevelInfo, "inbox: "+v.Do, slog.String("user", r.User),
			slog.String("remote", r.RemoteAddr), slog.String("result", v.Result))
	}
	return v, nil
}
