package receivers

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/queue/delivery"
)

//go:embed receivers.txt
var text string

var known = sync.OnceValue(func() List {
	l, _ := parse(text) // a test reads it
	return l
})

// Default returns the Profiles of receivers.txt. The caller may change the List, and must not change what the fields of
// a Profile refer to.
func Default() List { return append(List(nil), known()...) }

// parse reads data in the format of receivers.txt.
func parse(data string) (l List, err error) {
	sources := make(map[string]Rule)
	number := 0
	for line := range strings.Lines(data) {
		number++
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		switch key := words[0]; {
		case key == "source" && len(words) >= 5:
			sources[words[1]] = Rule{Date: words[2], URL: words[3], Title: strings.Join(words[4:], " ")}
		case key == "receiver" && len(words) == 2:
			l = append(l, Profile{Name: words[1]})
		case len(l) > 0 && len(words) >= 4 && words[len(words)-2] == ":":
			rule, ok := sources[words[len(words)-1]]
			if !ok {
				return nil, fmt.Errorf("line %d: no such source: %q", number, words[len(words)-1])
			}
			words = words[:len(words)-2]
			rule.Text = strings.Join(words, " ")
			p := &l[len(l)-1]
			p.Rules = append(p.Rules, rule)
			if err := p.set(key, words[1:]); err != nil {
				return nil, fmt.Errorf("line %d: %w", number, err)
			}
		default:
			return nil, fmt.Errorf("line %d: %q is no line of this format", number, strings.TrimSpace(line))
		}
	}
	return l, l.Check()
}

// set sets a field by the words behind its key.
func (p *Profile) set(key string, words []string) (err error) {
	count := func(to *int) (err error) {
		*to, err = strconv.Atoi(words[0])
		return err
	}
	period := func(word string, to *time.Duration) (err error) {
		*to, err = time.ParseDuration(word)
		return err
	}
	switch n := len(words); {
	case key == "hosts":
		p.Hosts = words
		return nil
	case key == "connections" && n == 1:
		return count(&p.Connections)
	case key == "start" && n == 1:
		return count(&p.Start)
	case key == "messages" && n == 1:
		return count(&p.Messages)
	case key == "rate" && n == 2:
		p.Rate = delivery.Rate{}
		if err := count(&p.Rate.Messages); err != nil {
			return err
		}
		return period(words[1], &p.Rate.Per)
	case key == "pause" && n == 1:
		return period(words[0], &p.Recovery.Pause)
	case key == "restart" && n == 2:
		if err := count(&p.Recovery.Start); err != nil {
			return err
		}
		p.Recovery.Step, err = strconv.Atoi(words[1])
		return err
	}
	return fmt.Errorf("%s %s: no such rule", key, strings.Join(words, " "))
}
