package pgqueue

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/queue/internal/index"
	"github.com/postrider/postrider/smtp"
)

// fill sets every field of v to a value that isn't zero, so that a field that is forgotten in a record is noticed.
// Strings have this end.
func fill(v reflect.Value, n *int, end string) {
	*n++
	switch v.Kind() {
	case reflect.String:
		v.SetString(string(rune('a'+*n%26)) + end)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int32, reflect.Int64:
		v.SetInt(int64(1 + *n%50))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(1 + *n%50))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n, end)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), n, end)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), n, end)
		}
	case reflect.Struct:
		if v.Type().PkgPath() == "time" {
			v.Set(reflect.ValueOf(index.FromNano(int64(*n)).UTC()))
			return
		}
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(v.Field(i), n, end)
			}
		}
	}
}

// TestMessageRecord keeps every field of a message, except for those that have columns.
func TestMessageRecord(t *testing.T) {
	for _, end := range []string{"", `\ufffd\u0000`, "\ufffd\"<", "\x00", "\xff", "\x00\xff"} {
		var want index.Message
		n := 0
		fill(reflect.ValueOf(&want).Elem(), &n, end)
		want.ID, want.Arrival, want.Size, want.Sum, want.Owner = 0, 0, 0, 0, 0
		want.Dest = []uint32{1, 0}
		want.Group()
		head, err := encodeMessage(&want)
		if err != nil {
			t.Fatal(err)
		}
		if isText := bytes.Contains(head, []byte(`"from":"`)); isText == (strings.Contains(end, "\x00") || strings.Contains(end, "\xff")) {
			t.Errorf("%q: got %s", end, head)
		}
		got, err := decodeMessage(head)
		if err != nil || !reflect.DeepEqual(got, &want) {
			t.Errorf("%q: got %v and\n%+v, want\n%+v", end, err, got, &want)
		}
		entry, err := decodeEntry(head)
		if err != nil || len(entry.Dest) > 0 || entry.Tenant != want.Tenant || !slices.Equal(entry.Dests, want.Dests) {
			t.Errorf("%q: got %v and the entry\n%+v", end, err, entry)
		}
	}
	least := &index.Message{Notice: index.Never, Deadline: index.Never, Dests: []string{"d"}, Dest: []uint32{0},
		Envelope: smtp.Envelope{Recipients: []smtp.Recipient{{Address: "a@d"}}}}
	head, err := encodeMessage(least)
	if want := `{"destinations":["d"],"to":[{"a":"a@d"}]}`; err != nil || string(head) != want {
		t.Errorf("got %s and %v, want %s", head, err, want)
	}
	if got, err := decodeMessage(head); err != nil || !reflect.DeepEqual(got, least) {
		t.Errorf("got %v and\n%+v, want\n%+v", err, got, least)
	}
}

// TestProgressRecord keeps every field of a Progress.
func TestProgressRecord(t *testing.T) {
	m := &index.Message{Envelope: smtp.Envelope{Recipients: []smtp.Recipient{{Address: "a@d"}, {Address: "b@d"}}}}
	want := &index.Progress{}
	n := 0
	fill(reflect.ValueOf(want).Elem(), &n, "\x00\xff")
	want.Recipients, want.Last[1].Recipient, want.Last[1].Reply = []int{1, 0}, "a@d", nil
	for i := range want.Last { // of the attempt alone: no store keeps it
		want.Last[i].Security, want.Last[i].NotBefore = nil, time.Time{}
	}
	text, err := json.Marshal(recordOf(want, m))
	if err != nil {
		t.Fatal(err)
	}
	var r progressRecord
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if got, err := r.progress(m, true); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v and\n%+v, want\n%+v", err, got, want)
	}
	r.Last[0].Index = 2
	if _, err := r.progress(m, true); err == nil {
		t.Errorf("a recipient that the message doesn't have: got no error")
	}
}

// TestDecodeMessage reads heads that are wrong.
func TestDecodeMessage(t *testing.T) {
	for _, head := range []string{
		``, `{}`, `[]`, `{"destinations":["d"]}`, `{"to":[{"a":"a@d"}]}`,
		`{"destinations":["d"],"to":[{"a":"a@d","d":1}]}`, `{"destinations":[[]],"to":[{"a":"a@d"}]}`,
	} {
		if m, err := decodeMessage([]byte(head)); err == nil {
			t.Errorf("%s: got %+v, want an error", head, m)
		}
	}
	if _, err := decodeMessage([]byte(`{"destinations":["d"],"to":[{"a":"a@d"}],"later":[1]}`)); err != nil {
		t.Errorf("a field that isn't known: got %v", err)
	}
}
