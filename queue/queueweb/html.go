package queueweb

import (
	"html/template"
	"strconv"
	"strings"

	"github.com/postrider/postrider/internal/web"
)

// templates escape everything for HTML. What comes from a mail or a host goes through "text" or "long" before.
var templates = template.Must(web.NewTemplates().Funcs(template.FuncMap{
	"source": func(s string) string { return web.Source(s, maxSource) },
	"ages":   ageHeads,
	"cell":   cellLink,
	"bars":   newBars,
	"states": func() []string { return []string{"waiting", "leased", "held"} },
	"policy": policyText,

	"messageActions": messageActions,
}).ParseFS(files, "html/*.html"))

// ageHead is the head of a column: "5" and "up to 5 minutes".
type ageHead struct{ Short, Long string }

func ageHeads() []ageHead {
	var heads []ageHead
	for _, most := range ages {
		heads = append(heads, ageHead{strconv.Itoa(int(most.Minutes())), "under " + web.Span(most)})
	}
	last := ages[len(ages)-1]
	return append(heads, ageHead{strconv.Itoa(int(last.Minutes())) + "+", web.Span(last) + " and more"})
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
	return web.Link("messages", "destination", destination, "newer", newer, "older", older)
}

// policyText returns what the Name of an mx.Requirement means: "DANE" for "dane:" with a digest.
func policyText(name string) string {
	kind, _, _ := strings.Cut(name, ":")
	switch kind {
	case "dane":
		return "DANE, in the domain's DNS"
	case "sts":
		return "MTA-STS, by the domain"
	case "requiretls":
		return "REQUIRETLS, by the sender"
	}
	return name
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
