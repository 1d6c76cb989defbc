package replies

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/postrider/postrider/smtp"
)

var (
	//go:embed rules.txt
	rulesText string

	//go:embed words.txt
	wordsText string

	//go:embed scopes.txt
	scopesText string

	//go:embed names.txt
	namesText string
)

// The bounds of a table.
const (
	maxVocabulary = 2048
	maxPatterns   = 1024
)

// table is a list of rules, ready to be tried. It doesn't change once it is made.
//
//   - patterns are in the order of their rules; a pattern's number is its index. The first pattern that
//     matches decides.
//   - byWord has, for each word, the numbers of the patterns of which it is an anchor; always has those without one.
//     A pattern that is in neither for the words of a text can't match it.
//   - scopes are patterns, too: their rule is a Scope.
type table struct {
	ids      map[string]uint16   // of stems; 0: no rule has the word
	listed   map[string]uint16   // of the words in the names of lists, which aren't stems
	lists    map[uint16]string   // the name of the list, by the number of its word
	classes  map[string][]uint16 // by the name without "$"
	marks    [kinds]uint16
	words    int // how many numbers there are
	rules    []Rule
	patterns []pattern
	byWord   [][]uint16
	always   []uint16
	scopes   []pattern

	providers map[string]string // by the end of a host's name
	using     []uint16          // the words in front of the name of a list that isn't known
}

// defaults is the table of the default rules. A test shows that it has no error.
var defaults = sync.OnceValue(func() *table {
	t, _ := defaultTable()
	return t
})

func defaultTable() (*table, error) {
	t, err := newTable()
	if err != nil {
		return t, err
	}
	rules, err := parseRules(rulesText)
	if err != nil {
		return t, err
	}
	return t, t.add(rules)
}

// newTable returns a table with words, names and scopes, and without rules.
func newTable() (*table, error) {
	t := &table{
		ids: make(map[string]uint16), listed: make(map[string]uint16), lists: make(map[uint16]string),
		classes: make(map[string][]uint16), providers: make(map[string]string),
	}
	for i, name := range marks {
		if name != "" {
			t.words++
			t.marks[i] = uint16(t.words)
		}
	}
	for key, line := range lines(namesText) {
		name, words, _ := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		for _, w := range strings.Fields(words) {
			switch key {
			case "list":
				t.words++
				t.listed[w], t.lists[uint16(t.words)] = uint16(t.words), name
			case "provider":
				t.providers[w] = name
			}
		}
	}
	for key, line := range lines(wordsText) {
		var ids []uint16
		for _, w := range strings.Fields(line) {
			set, err := t.set(w)
			if err != nil {
				return t, err
			}
			ids = append(ids, set...)
		}
		t.classes[key] = slices.Compact(slices.Sorted(slices.Values(ids)))
	}
	t.using = t.classes["using"]
	scopes, err := parseRules(scopesText)
	if err != nil {
		return t, err
	}
	for _, s := range scopes {
		for _, says := range s.Says {
			p, err := t.compile(says)
			if err != nil {
				return t, err
			}
			p.rule = int(s.Scope)
			t.scopes = append(t.scopes, p)
		}
	}
	return t, nil
}

// lines yields the first word and the rest of each line that isn't empty or a comment.
func lines(text string) func(yield func(key, rest string) bool) {
	return func(yield func(key, rest string) bool) {
		for line := range strings.Lines(text) {
			key, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
			if key != "" && key[0] != '#' && !yield(key, strings.TrimSpace(rest)) {
				return
			}
		}
	}
}

// add compiles rules and puts them behind those that t has.
func (t *table) add(rules []Rule) error {
	for _, r := range rules {
		if err := t.checkRule(&r); err != nil {
			return fmt.Errorf("rule %.80q: %w", r.Name, err)
		}
		t.rules = append(t.rules, r)
		says := r.Says
		if len(says) == 0 {
			t.patterns = append(t.patterns, pattern{rule: len(t.rules) - 1})
		}
		for _, text := range says {
			p, err := t.compile(text)
			if err != nil {
				return fmt.Errorf("rule %.80q: %w", r.Name, err)
			}
			p.rule = len(t.rules) - 1
			t.patterns = append(t.patterns, p)
		}
	}
	if t.words >= maxVocabulary || len(t.patterns) > maxPatterns {
		return fmt.Errorf("%d words and %d patterns: at most %d and %d are possible",
			t.words, len(t.patterns), maxVocabulary-1, maxPatterns)
	}
	t.byWord, t.always = make([][]uint16, t.words+1), nil
	for i := range t.patterns {
		anchor := t.patterns[i].anchor()
		if anchor == nil {
			t.always = append(t.always, uint16(i))
		}
		for _, id := range anchor {
			t.byWord[id] = append(t.byWord[id], uint16(i))
		}
	}
	return nil
}

// checkRule returns an error for a value that no reply can have, so that the rule would never decide.
func (t *table) checkRule(r *Rule) error {
	if r.Reason == smtp.NoReason || !r.Reason.Known() {
		return fmt.Errorf("Reason is %v: set it to what the reply means, smtp.Other for example", r.Reason)
	}
	for _, code := range r.Codes {
		if code != 4 && code != 5 && (code < 400 || code > 599) {
			return fmt.Errorf("Codes has %d: want 400 to 599, or 4 or 5 for all of a class", code)
		}
	}
	for _, e := range r.Enhanced {
		if e.Subject < 0 || e.Subject > 999 || e.Detail < AnyDetail || e.Detail > 999 {
			return fmt.Errorf("Enhanced has {%d, %d}: want {7, 26} for 5.7.26, or AnyDetail", e.Subject, e.Detail)
		}
	}
	for _, host := range r.Hosts {
		if smtp.NeedsUTF8(host) || smtp.CheckAddress("a@"+host) != nil {
			return fmt.Errorf("Hosts has %.80q: want a host's name or a domain in ASCII, without \"*\"", host)
		}
	}
	if i := slices.Index(r.Regexps, nil); i >= 0 {
		return fmt.Errorf("Regexps[%d] is nil: set it to what regexp.Compile returns", i)
	}
	known := t.providerNames()
	for _, p := range r.Providers {
		if !slices.Contains(known, p) {
			return fmt.Errorf("Providers has %.80q: there are %s; for others, set Hosts", p, strings.Join(known, ", "))
		}
	}
	return nil
}

func (t *table) providerNames() []string {
	return slices.Compact(slices.Sorted(maps.Values(t.providers)))
}

// parseRules reads the format of rules.txt, which its head describes.
func parseRules(text string) (rules []Rule, err error) {
	var r *Rule
	number := 0
	for line := range strings.Lines(text) {
		number++
		key, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		rest = strings.TrimSpace(rest)
		var err error
		switch {
		case key == "" || key[0] == '#':
		case key == "rule":
			rules = append(rules, Rule{})
			r = &rules[len(rules)-1]
			err = r.head(strings.Fields(rest))
		case key == "scope":
			rules = append(rules, Rule{})
			r = &rules[len(rules)-1]
			r.Scope, err = parseScope(rest)
		case r == nil:
			err = errors.New("this line is before the first rule")
		default:
			err = r.line(key, rest)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	return rules, nil
}

// head reads the words behind "rule": the name, the Reason, and perhaps the Scope.
func (r *Rule) head(words []string) (err error) {
	if len(words) < 2 || len(words) > 3 {
		return errors.New("a rule has a name, a Reason, and perhaps a Scope")
	}
	r.Name = words[0]
	if err := r.Reason.UnmarshalText([]byte(words[1])); err != nil {
		return err
	}
	if len(words) == 3 {
		r.Scope, err = parseScope(words[2])
	}
	return err
}

func parseScope(name string) (Scope, error) {
	i := slices.Index(scopes[:], name)
	if i <= 0 {
		return 0, fmt.Errorf("there is no Scope %q", name)
	}
	return Scope(i), nil
}

// line reads one line of a rule.
func (r *Rule) line(key, rest string) error {
	switch key {
	case "from": // for readers
	case "unless":
		r.unless += " & ! " + rest
	case "says":
		r.Says = append(r.Says, rest+r.unless)
	case "provider":
		r.Providers = append(r.Providers, strings.Fields(rest)...)
	case "code":
		for _, f := range strings.Fields(rest) {
			n, err := strconv.Atoi(strings.TrimSuffix(f, "xx"))
			if err != nil {
				return fmt.Errorf("%q is not a code", f)
			}
			r.Codes = append(r.Codes, n)
		}
	case "enhanced":
		for _, f := range strings.Fields(rest) {
			var e Enhanced
			if _, err := fmt.Sscanf(f, "x.%d.%d", &e.Subject, &e.Detail); err != nil {
				e.Detail = AnyDetail
				if _, err := fmt.Sscanf(f, "x.%d.x", &e.Subject); err != nil {
					return fmt.Errorf("%q is not an enhanced code as x.7.26 or x.7.x", f)
				}
			}
			r.Enhanced = append(r.Enhanced, e)
		}
	case "stage":
		for _, f := range strings.Fields(rest) {
			i := smtp.StageRoute
			for i <= smtp.StageFinal && i.String() != f {
				i++
			}
			if i > smtp.StageFinal {
				return fmt.Errorf("there is no stage %q", f)
			}
			r.Stages = append(r.Stages, i)
		}
	default:
		return fmt.Errorf("%q is not a key of a rule", key)
	}
	return nil
}
