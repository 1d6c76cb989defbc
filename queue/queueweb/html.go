package queueweb

import (
	"fmt"
	"html/template"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// templates escape everything for HTML. What comes from a mail or a host goes through "text" or "long" before.
var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"text":    func(s any) string { return visible(fmt.Sprint(s), maxText) },
	"long":    func(s string) string { return visible(s, maxLong) },
	"source":  visibleSource,
	"n":       number,
	"plural":  plural,
	"octets":  octets,
	"iso":     func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"clock":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	"rel":     func(t time.Time) string { return relative(t, time.Now()) },
	"left":    func(t time.Time) string { return span(time.Until(t)) },
	"isPast":  func(t time.Time) bool { return !t.After(time.Now()) },
	"link":    link,
	"linkAll": func(page string, values url.Values, more ...string) string { return linkWith(page, values, more) },
	"ages":    ageHeads,
	"cell":    cellLink,
	"bars":    newBars,
	"states":  func() []string { return []string{"waiting", "leased", "held"} },

	"messageActions": messageActions,
}).ParseFS(files, "html/*.html"))

// number writes 1234567 as "1,234,567".
func number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// plural returns "1 message was" or "2 messages were".
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + many
}

// link returns the URL of a page with parameters, those that are empty left out. It is relative: no page is below
// another one.
func link(page string, pairs ...any) string {
	given := make([]string, len(pairs))
	for i, v := range pairs {
		given[i] = fmt.Sprint(v)
	}
	return linkWith(page, nil, given)
}

func linkWith(page string, values url.Values, pairs []string) string {
	all := make(url.Values)
	for name, v := range values {
		all[name] = v
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		all.Set(pairs[i], pairs[i+1])
	}
	for name := range all {
		if all.Get(name) == "" {
			all.Del(name)
		}
	}
	return "./" + page + "?" + all.Encode()
}

// visibleSource is visible for a text of many lines.
func visibleSource(s string) string {
	lines := strings.Split(strings.ReplaceAll(s, "\r\n", "\n"), "\n")
	for i, line := range lines {
		lines[i] = strings.ReplaceAll(visible(strings.ReplaceAll(line, "\t", "    "), maxSource), "⟨U+000A⟩", "\n")
	}
	return strings.Join(lines, "\n")
}

// ageHead is the head of a column: "5" and "up to 5 minutes".
type ageHead struct{ Short, Long string }

func ageHeads() []ageHead {
	var heads []ageHead
	for _, most := range ages {
		heads = append(heads, ageHead{strconv.Itoa(int(most.Minutes())), "under " + span(most)})
	}
	last := ages[len(ages)-1]
	return append(heads, ageHead{strconv.Itoa(int(last.Minutes())) + "+", span(last) + " and more"})
}

// cellLink returns the search for the messages of a destination in a column.
func cellLink(destination string, column int) string {
	newer, older := "", ""
	if column < len(ages) {
		newer = ages[column].String()
	}
	if column > 0 {
		older = ages[column-1].String()
	}
	return link("messages", "destination", destination, "newer", newer, "older", older)
}

// bars are the rectangles of a chart of 60 minutes, in a box of 240 by 48.
type bars struct {
	Title string
	Class string
	Total int
	Most  int // in a minute
	Bars  []bar
}

type bar struct{ X, Y, Height int }

func newBars(title, class string, counts [60]int) bars {
	const height = 46
	b := bars{Title: title, Class: class, Total: sum(counts)}
	for _, n := range counts {
		b.Most = max(b.Most, n)
	}
	for i, n := range counts {
		if n > 0 {
			h := max(n*height/b.Most, 1)
			b.Bars = append(b.Bars, bar{X: i * 4, Y: 48 - h, Height: h})
		}
	}
	return b
}

func sum(counts [60]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}
