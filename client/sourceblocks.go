package client

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/postrider/postrider/smtp"
)

// Block keeps a source address from use for a site.
type Block struct {
	Site       string // see mx.Route.Site
	SourceAddr netip.Addr
	Until      time.Time
	Reply      *smtp.Reply // why, if a host has said so
}

// sources is what has been learned about the Sources of a Transport.
type sources struct {
	mu     sync.Mutex
	blocks map[blockKey]Block
	last   map[pair]netip.Addr // that a greylisting host has seen
}

type blockKey struct {
	site   string
	source netip.Addr
}

// pair is what a greylisting host knows a message by, beside the address that it comes from.
type pair struct{ from, to string }

const (
	maxBlocks = 10_000
	maxPairs  = 10_000
)

// Block keeps a source address from use for a site until b.Until; one of the past lifts it. Transport does so itself, for
// BlockTime, where a host refuses us for a blocklist. 10,000 blocks are kept, and all are forgotten where there would be more.
func (t *Transport) Block(b Block) {
	s := &t.sources
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.blocks) >= maxBlocks {
		maps.DeleteFunc(s.blocks, isOver)
	}
	put(&s.blocks, maxBlocks, blockKey{b.Site, b.SourceAddr.Unmap()}, b) // who is forgotten and still blocked hears it again
}

func isOver(_ blockKey, b Block) bool { return !time.Now().Before(b.Until) }

// put sets m[k], and forgets all others where that would be one too many.
func put[K comparable, V any](m *map[K]V, most int, k K, v V) {
	if _, known := (*m)[k]; *m == nil || !known && len(*m) >= most {
		*m = make(map[K]V)
	}
	(*m)[k] = v
}

// Blocks gives what is blocked now, by site and source.
func (t *Transport) Blocks() []Block {
	s := &t.sources
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.blocks, isOver)
	return slices.SortedFunc(maps.Values(s.blocks), func(a, b Block) int {
		return cmp.Or(cmp.Compare(a.Site, b.Site), a.SourceAddr.Compare(b.SourceAddr))
	})
}

func (s *sources) blocked(site string, source netip.Addr) (b Block, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok = s.blocks[blockKey{site, source}]
	return b, ok && time.Now().Before(b.Until)
}

// seen remembers the address that a greylisting host has seen a message come from.
func (s *sources) seen(p pair, source netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	put(&s.last, maxPairs, p, source) // forgetting costs a greylisting delay
}

func (s *sources) lastSeen(p pair) netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last[p]
}
