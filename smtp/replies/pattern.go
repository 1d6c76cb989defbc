package replies

import (
	"fmt"
	"slices"
	"strings"
)

// element is a word of a phrase: one of a set.
type element struct {
	ids      []uint16
	gap      int // how many other words may be in front of it
	optional bool
}

// phrase is a run of elements. The first one isn't optional.
type phrase struct {
	elements []element
	not      bool // the text must not have it
}

// pattern matches a text that has all of its phrases, and none of those with not.
type pattern struct {
	phrases []phrase
	rule    int
}

const (
	nearGap = 4  // ".."
	farGap  = 12 // "..."
)

// compile reads a pattern and adds its words to the vocabulary of t.
func (t *table) compile(text string) (pattern, error) {
	var p pattern
	for part := range strings.SplitSeq(text, "&") {
		var ph phrase
		gap, pending := 0, false
		for i, field := range strings.Fields(part) {
			switch {
			case i == 0 && field == "!":
				ph.not = true
				continue
			case field == "..":
				gap, pending = nearGap, true
				continue
			case field == "...":
				gap, pending = farGap, true
				continue
			}
			e := element{gap: gap}
			field, e.optional = strings.CutSuffix(field, "?")
			for name := range strings.SplitSeq(field, "|") {
				ids, err := t.set(name)
				if err != nil {
					return p, fmt.Errorf("pattern %.80q: %w", text, err)
				}
				e.ids = append(e.ids, ids...)
			}
			if len(ph.elements) == 0 && (pending || e.optional) {
				return p, fmt.Errorf("pattern %.80q: a phrase begins with %q: begin it with a word", text, field)
			}
			ph.elements = append(ph.elements, e)
			gap, pending = 0, false
		}
		if len(ph.elements) == 0 || pending {
			return p, fmt.Errorf("pattern %.80q: a phrase has no word, or ends with a gap", text)
		}
		p.phrases = append(p.phrases, ph)
	}
	if p.phrases[0].not {
		return p, fmt.Errorf("pattern %.80q: the first phrase has \"!\": put one that must be there first", text)
	}
	return p, nil
}

// set returns the words that a name in a pattern stands for.
func (t *table) set(name string) ([]uint16, error) {
	if class, ok := strings.CutPrefix(name, "$"); ok {
		ids, ok := t.classes[class]
		if !ok {
			return nil, fmt.Errorf("there is no class %q", class)
		}
		return ids, nil
	}
	if i := slices.Index(marks[:], name); i > 0 {
		return []uint16{t.marks[i]}, nil
	}
	if name == "" || len(name) > maxWord || strings.ContainsFunc(name, func(r rune) bool {
		return r >= 0x80 || !isDigit(byte(r)) && !isLetter(byte(r))
	}) {
		return nil, fmt.Errorf("%q is not a word of ASCII letters and digits", name)
	}
	lower := strings.ToLower(name)
	if id := t.listed[lower]; id != 0 {
		return []uint16{id}, nil
	}
	return []uint16{t.id(string(stem([]byte(lower))))}, nil
}

// id returns the number of a stem, and makes one if it has none.
func (t *table) id(stem string) uint16 {
	id, ok := t.ids[stem]
	if !ok {
		t.words++
		id = uint16(min(t.words, maxVocabulary-1))
		t.ids[stem] = id
	}
	return id
}

// anchor returns the smallest set of words of which one is in each text that p matches. It is nil if p has no phrase.
func (p *pattern) anchor() []uint16 {
	var smallest []uint16
	for _, ph := range p.phrases {
		for _, e := range ph.elements {
			if !ph.not && !e.optional && (smallest == nil || len(e.ids) < len(smallest)) {
				smallest = e.ids
			}
		}
	}
	return smallest
}

// spots is a set of positions in a text.
type spots [maxWords / 64]uint64

func (b *spots) add(i int) { b[i/64] |= 1 << (i % 64) }

func (b *spots) empty() bool { return *b == spots{} }

// next moves all positions on by one.
func (b *spots) next() {
	carry := uint64(0)
	for i, w := range b {
		b[i] = w<<1 | carry
		carry = w >> 63
	}
}

// matches reports whether the text of in has what p says.
func (in *input) matches(p *pattern) bool {
	for i := range p.phrases {
		if in.has(p.phrases[i].elements) == p.phrases[i].not {
			return false
		}
	}
	return true
}

func (in *input) has(elements []element) bool {
	var ends spots // where a phrase up to this element ends
	for i := range elements {
		e := &elements[i]
		at := in.positions(e.ids)
		if i == 0 {
			ends = at
		} else {
			reach, near := spots{}, ends
			for range e.gap + 1 {
				near.next()
				for k := range reach {
					reach[k] |= near[k]
				}
			}
			for k := range reach {
				reach[k] &= at[k]
				if e.optional {
					reach[k] |= ends[k]
				}
			}
			ends = reach
		}
		if ends.empty() {
			return false
		}
	}
	return true
}

// positions returns where the text has one of the words.
func (in *input) positions(ids []uint16) (b spots) {
	for _, id := range ids {
		for s := in.first[id]; s != 0; s = in.next[s-1] {
			b.add(int(s-1) / 2)
			in.steps++
		}
	}
	in.steps += len(ids)
	return b
}
