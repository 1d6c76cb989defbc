package river

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postrider/postrider/examples/pgqueue/pgtest"
)

// settings of the server: see the package's doc.
var settings = []string{
	"shared_buffers=512MB", "max_wal_size=4GB", "fsync=on", "synchronous_commit=on", "full_page_writes=on",
	"autovacuum=on",
}

// side is postrider or River in one part.
type side func(p *place, producers int) figures

var names = [2]string{"postrider", "river"}

type part struct {
	name      string
	share     int // of the messages, in percent
	producers int
	ours      side
	theirs    side // nil if River has nothing like it
}

func parts() (all []part) {
	for _, by := range []struct {
		name         string
		ours, theirs side
	}{
		{"enqueue", enqueue, insert},
		{"in a transaction of pgx", enqueueRow, insertPgx},
		{"in a transaction of database/sql", enqueueTx, insertSQL},
	} {
		for i, producers := range []int{1, 10, 100} {
			share := []int{5, 25, 100}[i]
			all = append(all, part{fmt.Sprintf("%s, by %d", by.name, producers), share, producers, by.ours, by.theirs})
		}
	}
	return append(all, part{"worked off by 3", 100, 0, settle, work}, part{"flow, by 100 and 3", 100, 100, flow, nil})
}

// number returns the number in an environment variable, or otherwise.
func number(t *testing.T, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q: it must be a number, 1 or more", name, text)
	}
	return n
}

// TestRiver measures both sides, in turns.
func TestRiver(t *testing.T) {
	n := number(t, "POSTRIDER_RIVER", 0)
	if n == 0 {
		t.Skip("set POSTRIDER_RIVER to a number of messages, 40000 for example")
	}
	chosen := regexp.MustCompile(os.Getenv("POSTRIDER_RIVER_PART"))
	s, err := pgtest.Start(settings...)
	pgtest.Need(t, err)
	t.Cleanup(s.Remove)
	pool, err := pgxpool.New(t.Context(), s.DSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	schemas := 0
	var ends []string
	for _, part := range parts() {
		var r results
		for round := range number(t, "POSTRIDER_RIVER_ROUNDS", 3) {
			var f [2]figures
			for turn := range 2 {
				which := (round + turn) % 2
				do := []side{part.ours, part.theirs}[which]
				name := part.name + "/" + names[which]
				if do == nil || !chosen.MatchString(name) {
					continue
				}
				schemas++
				p := &place{
					TB: t, server: s, pool: pool, schema: fmt.Sprintf("s%d", schemas),
					n: max(1, n*part.share/100), body: strings.Repeat("x", 1024),
				}
				f[which] = do(p, part.producers)
				p.exec(`DROP SCHEMA {schema} CASCADE`)
				p.rest()
				t.Logf("%-52s %v", name, f[which])
				if t.Failed() {
					return
				}
				r.measured[which] = append(r.measured[which], f[which])
			}
			if f[0].rate > 0 && f[1].rate > 0 {
				r.ratios = append(r.ratios, f[0].rate/f[1].rate)
				t.Logf("%-52s %8.2f times River's rate", part.name, f[0].rate/f[1].rate)
			}
		}
		ends = append(ends, r.summary(part.name)...)
	}
	t.Logf("the least, the median and the greatest of the rounds:\n%s", strings.Join(ends, "\n"))
}

// results are those of all rounds of a part.
type results struct {
	measured [2][]figures
	ratios   []float64
}

// summary returns lines with the least, the median and the greatest of the rounds.
func (r *results) summary(part string) (lines []string) {
	for which, all := range r.measured {
		if len(all) == 0 {
			continue
		}
		var rates, server, program []float64
		for _, f := range all {
			rates = append(rates, f.rate)
			server = append(server, f.server.Seconds()*1e6)
			program = append(program, f.program.Seconds()*1e6)
		}
		lines = append(lines, fmt.Sprintf("%-52s %s a second; %s µs of the server's processors, %s of the program's",
			part+"/"+names[which], range3(rates, 0), range3(server, 0), range3(program, 0)))
	}
	if len(r.ratios) > 0 {
		lines = append(lines, fmt.Sprintf("%-52s %s times River's rate", part, range3(r.ratios, 2)))
	}
	return lines
}

// range3 returns the least, the median and the greatest as text.
func range3(values []float64, digits int) string {
	least, median, greatest := spread(values)
	return fmt.Sprintf("%.*f/%.*f/%.*f", digits, least, digits, median, digits, greatest)
}
