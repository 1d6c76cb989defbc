package client

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/smtp"
)

// TestPrompts: LOGIN ignores the texts of its prompts, PLAIN that of the 334 that asks for its response, and the other
// mechanisms decode their challenges.
func TestPrompts(t *testing.T) {
	long := strings.Repeat("p", 400) // PLAIN with it doesn't fit into the line of AUTH
	secret := &Credentials{Username: "ann", Password: "secret", Mechanisms: []string{"LOGIN", "PLAIN"}}
	longer := &Credentials{Username: "ann", Password: long, Mechanisms: []string{"PLAIN"}}
	scram := &Credentials{Username: "user", Password: "pencil", Mechanisms: []string{"SCRAM-SHA-256"}, nonce: vectorNonce}
	token := withCredential(nil, "token", "t")
	const first, proof = "cj1yT3ByTkdmd0ViZVJXZ2JORWtxTyVodllEcFdVYTJSYVRDQWZ1eEZJbGopaE5sRiRrMCxzPVcyMlphSjBTTlk3c29Fc1VFamI2Z1E9PSxpPTQwOTY=",
		"dj02cnJpVFJCaTIzV3BSUi93dHVwK21NaFVaVW4vZEI1bkxUSlJzamw5NUc0PQ=="
	tests := []struct {
		name  string
		auth  smtp.Auth
		offer string
		asks  []string // what follows AUTH, one reply a line of the client; then comes 235
		want  string   // the end of the error; empty: none
	}{
		{"LOGIN as most hosts have it", secret, "LOGIN", []string{"334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6"}, ""},
		{"LOGIN without texts", secret, "LOGIN", []string{"334 ", "334"}, ""},
		{"LOGIN in clear", secret, "LOGIN", []string{"334 Username:", "334 Password:"}, ""},
		{"LOGIN in words", secret, "LOGIN", []string{"334 what's your name?", "334 and the password, please"}, ""},
		{"LOGIN, a blank behind the base64", secret, "LOGIN", []string{"334 VXNlcm5hbWU6 ", "334 UGFzc3dvcmQ6\t"}, ""},
		{"LOGIN, text behind the base64", secret, "LOGIN", []string{"334 VXNlcm5hbWU6 the user name", "334 UGFzc3dvcmQ6 (secret)"}, ""},
		{"LOGIN, without padding", secret, "LOGIN", []string{"334 VXNlcjo", "334 UGFzczo"}, ""},
		{"LOGIN, the password first", secret, "LOGIN", []string{"334 UGFzc3dvcmQ6", "334 VXNlcm5hbWU6"}, ""},
		{"LOGIN, lines", secret, "LOGIN", []string{"334-hello\r\n334 VXNlcm5hbWU6", "334-and\r\n334 UGFzc3dvcmQ6"}, ""},
		{"LOGIN, 8-bit", secret, "LOGIN", []string{"334 Benutzername f\xfcr ann:", "334 Passwort f\u00fcr ann:"}, ""},
		{"LOGIN, other codes", secret, "LOGIN", []string{"300 VXNlcm5hbWU6", "399 go on"}, ""},
		{"LOGIN, an empty line before each", secret, "LOGIN", []string{"\r\n334 VXNlcm5hbWU6", "\r\n334 UGFzc3dvcmQ6"}, ""},
		{"LOGIN asks three times", secret, "LOGIN", []string{"334 a", "334 b", "334 c"}, "unexpected server challenge"},
		{"LOGIN of go-sasl", loginAuth("secret"), "LOGIN", []string{"334 UGFzc3dvcmQ6"}, ""},
		{"LOGIN of go-sasl, in clear", loginAuth("secret"), "LOGIN", []string{"334 Password:"}, ""},
		{"LOGIN of go-sasl, text behind it", loginAuth("secret"), "LOGIN", []string{"334  UGFzc3dvcmQ6 go on"}, ""},
		{"PLAIN", longer, "PLAIN", []string{"334 "}, ""},
		{"PLAIN, with a text", longer, "PLAIN", []string{"334 go on, ann"}, ""},
		{"PLAIN, with lines", longer, "PLAIN", []string{"334-go on\r\n334 ann"}, ""},
		{"PLAIN, another code", longer, "PLAIN", []string{"354 go on"}, ""},
		{"SCRAM", scram, "SCRAM-SHA-256", []string{"334 " + first, "334 " + proof}, ""},
		{"SCRAM, blanks around it", scram, "SCRAM-SHA-256", []string{"334 \t" + first + " ", "334  " + proof + "\t"}, ""},
		{"SCRAM, another code", scram, "SCRAM-SHA-256", []string{"333 " + first, "399 " + proof}, ""},
		{"SCRAM, text behind it", scram, "SCRAM-SHA-256", []string{"334 " + first + " go"}, "the host's challenge: illegal base64 data at input byte 116"},
		{"SCRAM in clear", scram, "SCRAM-SHA-256", []string{"334 r=" + vectorNonce}, "the host's challenge: illegal base64 data at input byte 1"},
		{"SCRAM without a proof, and another 2xx", scram, "SCRAM-SHA-256", []string{"334 " + first, "250 ok"}, "didn't prove that it knows the password"},
		{"XOAUTH2 in clear", token, "XOAUTH2", []string{`334 {"status":"401"}`}, "the host's challenge: illegal base64 data at input byte 0"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := pipe("127.0.0.1:25")
				v := &villain{}
				script := "S: 220 hi\nC: EHLO\nS: 250-host\nS: 250 AUTH " + test.offer + "\nC: AUTH " + test.offer + "\n"
				for _, ask := range test.asks {
					for line := range strings.SplitSeq(ask, "\r\n") {
						script += "S: " + line + "\n"
					}
					script += "C: \n"
				}
				heard := make(chan struct{})
				go func() { v.serve(server, script+"S: 235 ok"); close(heard) }()
				c := &Conn{Hostname: "client.test", Host: "a.localhost", Auth: test.auth}
				err := c.Open(t.Context(), client)
				c.Quit(t.Context())
				<-heard
				if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.HasSuffix(err.Error(), test.want)) {
					t.Errorf("got %v, want %q", err, test.want)
				}
			})
		})
	}
}
