package replies

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/smtp"
)

// live is a reply of the corpus.
type live struct {
	ID        string
	Code      int
	Enhanced  string
	Text      string
	Providers []string
	Class     string
	Also      []string
}

func (l *live) meaning() Meaning {
	return Classify(smtp.NewReply(l.Code, l.Enhanced, l.Text), smtp.StageFinal, "")
}

func (l *live) isRight(m Meaning) bool {
	return m.Reason.String() == l.Class || slices.Contains(l.Also, m.Reason.String())
}

// readLive reads the corpus of labelled replies, which isn't part of this repository.
func readLive(t *testing.T) []live {
	dir := os.Getenv("POSTRIDER_CORPORA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "corpora")
	}
	name := os.Getenv("POSTRIDER_LABELS")
	if name == "" {
		name = filepath.Join(dir, "replies", "labels.json")
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Skipf("the corpus of replies is absent: %v; set POSTRIDER_CORPORA to its directory", err)
	}
	var list []live
	if err := json.Unmarshal(b, &list); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestLiveReplies(t *testing.T) {
	list := readLive(t)
	right := 0
	for _, l := range list {
		m := l.meaning()
		if l.isRight(m) {
			right++
			continue
		}
		t.Logf("%d %s %.150q: got %v by %s, want %s %s", l.Code, l.Enhanced, l.Text, m.Reason, m.Rule, l.Class,
			strings.Join(l.Also, " "))
	}
	if right*100 < 97*len(list) {
		t.Errorf("got %d of %d right, want 97 %%", right, len(list))
	}
	t.Logf("%d of %d right", right, len(list))
}
