package client

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseExtensions(t *testing.T) {
	tests := []struct {
		name string
		text string // of the reply, after its first line
		want extensions
	}{
		{"as RFC 5321 has it", "8BITMIME\nSIZE 1000\nPIPELINING", extensions{eightBit: true, size: true, maxSize: 1000, pipelining: true}},
		{"lower case", "8bitmime\nstartTLS\nauth plain", extensions{eightBit: true, startTLS: true, auth: []string{"PLAIN"}}},
		{"blanks before it", " 8BITMIME\n\tDSN\n   SIZE 1000", extensions{eightBit: true, dsn: true, size: true, maxSize: 1000}},
		{"blanks behind it", "8BITMIME \nDSN\t\nSIZE 1000 \t", extensions{eightBit: true, dsn: true, size: true, maxSize: 1000}},
		{"a tab before parameters", "SIZE\t1000\nAUTH\tPLAIN\tLOGIN\nLIMITS\tRCPTMAX=10\tMAILMAX=2", extensions{size: true, maxSize: 1000, auth: []string{"PLAIN", "LOGIN"}, maxRcpts: 10, maxMails: 2}},
		{"several blanks before parameters", "SIZE  \t 1000\nAUTH   PLAIN  LOGIN", extensions{size: true, maxSize: 1000, auth: []string{"PLAIN", "LOGIN"}}},
		{"a blank in the keyword", "8 BITMIME", extensions{eightBit: true}},
		{"blanks in all keywords", "8BIT MIME\nPIPE LINING\nstart tls\nSMTP\tUTF8\nBINARY MIME\nCHUN KING\n D S N ", extensions{eightBit: true, pipelining: true, startTLS: true, utf8: true, binary: true, chunking: true, dsn: true}},
		{"a word and a parameter that are no keyword", "8 BIT\nX PIPELINING\nNO STARTTLS", extensions{}},
		{"text behind it", "STARTTLS now\nPIPELINING yes please\n8BITMIME=on", extensions{startTLS: true, pipelining: true, eightBit: true}},
		{"equals sign", "AUTH=LOGIN PLAIN\nSIZE=1000", extensions{auth: []string{"LOGIN", "PLAIN"}, size: true, maxSize: 1000}},
		{"equals sign and blanks", "AUTH= LOGIN\nSIZE = 1000", extensions{auth: []string{"LOGIN"}, size: true, maxSize: 1000}},
		{"both forms of AUTH", "AUTH PLAIN LOGIN\nAUTH=LOGIN XOAUTH2", extensions{auth: []string{"PLAIN", "LOGIN", "XOAUTH2"}}},
		{"mechanisms with commas", "AUTH PLAIN,LOGIN, XOAUTH2", extensions{auth: []string{"PLAIN", "LOGIN", "XOAUTH2"}}},
		{"AUTH alone", "AUTH\nAUTH=", extensions{}},
		{"SIZE alone", "SIZE", extensions{size: true}},
		{"SIZE 0", "SIZE 0", extensions{size: true}},
		{"SIZE twice", "SIZE 1000\nSIZE 2000", extensions{size: true, maxSize: 2000}},
		{"SIZE twice, then without a maximum", "SIZE 1000\nSIZE 0", extensions{size: true}},
		{"SIZE twice, then alone", "SIZE 1000\nSIZE", extensions{size: true, maxSize: 1000}},
		{"SIZE that is no number", "SIZE 10M\nSIZE -1\nSIZE 99999999999999999999", extensions{size: true}},
		{"twice", "DSN\nDSN\nPIPELINING\nPIPELINING", extensions{dsn: true, pipelining: true}},
		{"other characters that look like it", "ＤＳＮ\nD\u00a0SN\nP\u0131PELINING\n?DSN\nDSN?", extensions{}},
		{"empty lines", "\n\t\n \nDSN\n", extensions{dsn: true}},
		{"nothing", "", extensions{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := parseExtensions("mx.example.net DSN\n" + test.text); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

// FuzzParseExtensions holds that blanks at the ends of lines and more of them between words change nothing, and that what
// is kept is bounded.
func FuzzParseExtensions(f *testing.F) {
	for _, s := range []string{"8 BITMIME\nSIZE\t1000", "AUTH=PLAIN,LOGIN\nAUTH X", "LIMITS RCPTMAX=1 MAILMAX=x", " D S N\n=\n==", "SIZE = 1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := parseExtensions("host\n" + text)
		if again := parseExtensions("host\n \t" + strings.ReplaceAll(text, "\n", "\t \n ") + " \t"); !reflect.DeepEqual(got, again) {
			t.Errorf("got %+v, with further blanks %+v", got, again)
		}
		if again := parseExtensions("host\n" + strings.ReplaceAll(text, " ", "\t")); !reflect.DeepEqual(got, again) {
			t.Errorf("got %+v, with tabs %+v", got, again)
		}
		if len(got.auth) > maxMechanisms || got.maxSize < 0 || got.maxMails < 0 || got.maxRcpts < 0 || got.maxDomains < 0 {
			t.Errorf("got %+v", got)
		}
	})
}
