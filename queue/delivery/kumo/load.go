package kumo

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/BurntSushi/toml"

	"github.com/postrider/postrider/smtp/replies"
)

// Resolver looks up MX records. A *net.Resolver is one, and so is a *dns.Resolver.
type Resolver interface {
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
}

// MaxSize is how many octets a file may have at most.
const MaxSize = 4 << 20

// File is a shaping file that has been read.
type File struct {
	Name string // for errors
	Data []byte // TOML
}

// Load reads shaping files, and composes them in their order. It looks up the hosts of the domains that have a section
// of their own. If r is nil, these sections are Ignored, and so is one whose lookup fails. An error is about a file: it
// can't be read, is larger than MaxSize, or is no TOML.
func Load(ctx context.Context, r Resolver, names ...string) (*Shaping, error) {
	files := make([]File, len(names))
	for i, name := range names {
		data, err := readFile(name)
		if err != nil {
			return nil, fmt.Errorf("kumo: %w", err)
		}
		files[i] = File{name, data}
	}
	return Parse(ctx, r, files...)
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxSize+1))
}

// Parse is Load of files that have been read.
func Parse(ctx context.Context, r Resolver, files ...File) (*Shaping, error) {
	c := composer{sections: make(map[string]*section)}
	for _, f := range files {
		if len(f.Data) > MaxSize {
			return nil, fmt.Errorf("kumo: %s has more than %d octets", f.Name, MaxSize)
		}
		var tables map[string]any
		md, err := toml.Decode(string(f.Data), &tables)
		if err != nil {
			return nil, fmt.Errorf("kumo: %s: %w", f.Name, err)
		}
		c.add(tables, md.Keys())
	}
	v := converter{resolver: r}
	for _, s := range c.order {
		v.section(ctx, s)
	}
	out := v.finish()
	if err := cmp.Or(ctx.Err(), (&replies.Classifier{Rules: out.Replies}).Check()); err != nil {
		return nil, fmt.Errorf("kumo: %w", err)
	}
	return out, nil
}

// section is a table of the files, composed.
type section struct {
	kind     kind
	name     string
	matches  []any          // of a provider
	settings map[string]any // but those that have fields here
	rules    []any
}

type kind string

const (
	provider kind = "provider"
	domain   kind = "domain"
	ofAll    kind = "default"
)

func (s *section) String() string {
	if s.kind == ofAll {
		return "default"
	}
	return string(s.kind) + " " + s.name
}

// composer composes files. order has the sections as they first came.
type composer struct {
	sections map[string]*section
	order    []*section
}

// add adds the tables of a file. keys has their names in the order of the file.
func (c *composer) add(tables map[string]any, keys []toml.Key) {
	seen := make(map[string]bool)
	one := func(k kind, name string, v any) {
		if table, ok := v.(map[string]any); ok && !seen[string(k)+name] {
			seen[string(k)+name] = true
			c.merge(k, name, table)
		}
	}
	for _, key := range keys {
		providers, _ := tables["provider"].(map[string]any)
		switch {
		case key[0] == "provider" && len(key) > 1:
			one(provider, key[1], providers[key[1]])
		case key[0] == "default":
			one(ofAll, "", tables["default"])
		case key[0] != "provider":
			one(domain, key[0], tables[key[0]])
		}
	}
}

// merge adds a table to its section.
func (c *composer) merge(k kind, name string, table map[string]any) {
	id := string(k) + name
	s := c.sections[id]
	if s == nil {
		s = &section{kind: k, name: name}
		c.sections[id] = s
		c.order = append(c.order, s)
	}
	if replace, _ := table["replace_base"].(bool); replace {
		*s = section{kind: k, name: name}
	}
	if s.settings == nil {
		s.settings = make(map[string]any)
	}
	for key, v := range table {
		switch list := tableList(v); {
		case key == "automation":
			s.rules = append(s.rules, list...)
		case key == "match" && k == provider:
			s.matches = append(s.matches, list...)
		case key != "replace_base":
			s.settings[key] = v
		}
	}
}

// tableList returns the elements of a list, which may be one of tables.
func tableList(v any) (list []any) {
	switch v := v.(type) {
	case []any:
		return v
	case []map[string]any:
		for _, table := range v {
			list = append(list, table)
		}
	}
	return list
}
