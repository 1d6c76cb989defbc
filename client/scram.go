package client

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/emersion/go-sasl"

	"github.com/postrider/postrider/smtp"
)

// Bounds on the iterations that a host may ask for.
const (
	// RFC 7677 §4 has this minimum. With fewer, an impostor could guess the password from the proof more cheaply.
	minIterations = 4096

	// About 0.5 s of one processor, 2 s without instructions for SHA-256. The usual advice for stored passwords is
	// 600,000.
	maxIterations = 2_000_000
)

// scramClient is the client's side of SCRAM-SHA-256 (RFC 5802, 7677).
type scramClient struct {
	mech     string
	gs2      string // the GS2 header: the channel binding's name and the authorization identity
	bound    []byte // channel binding data
	password string
	nonce    string // ours
	first    string // client-first-message-bare
	want     []byte // the host's signature
	step     scramStep
}

type scramStep uint8

const (
	scramFirst scramStep = iota // expects the server-first-message
	scramFinal                  // expects the server-final-message
	scramDone
	scramFailed
)

// scram returns an exchange. flag is the gs2-cbind-flag (RFC 5802 §7).
func (c *Credentials) scram(flag string, bound []byte) (smtp.AuthExchange, error) {
	username, err := prepare(c.Username)
	if err != nil {
		return nil, fmt.Errorf("Credentials.Username: %w", err)
	}
	password, err := prepare(c.Password)
	if err != nil {
		return nil, fmt.Errorf("Credentials.Password: %w", err)
	}
	s := &scramClient{mech: scramSHA256, gs2: flag + ",", bound: bound, password: password, nonce: c.nonce}
	if bound != nil {
		s.mech = scramSHA256Plus
	}
	if c.AuthorizationID != "" {
		authzid, err := prepare(c.AuthorizationID)
		if err != nil {
			return nil, fmt.Errorf("Credentials.AuthorizationID: %w", err)
		}
		s.gs2 += "a=" + saslname(authzid)
	}
	s.gs2 += ","
	if s.nonce == "" {
		s.nonce = rand.Text()
	}
	s.first = "n=" + saslname(username) + ",r=" + s.nonce
	return s, nil
}

// saslname escapes the separators of attributes (RFC 5802 §5.1).
func saslname(s string) string { return strings.NewReplacer("=", "=3D", ",", "=2C").Replace(s) }

func (s *scramClient) Start() (mech string, ir []byte, err error) {
	return s.mech, []byte(s.gs2 + s.first), nil
}

func (s *scramClient) Next(challenge []byte) ([]byte, error) {
	step := s.step
	s.step = scramFailed
	switch step {
	case scramFirst:
		response, err := s.prove(string(challenge))
		if err == nil {
			s.step = scramFinal
		}
		return response, err
	case scramFinal:
		response, err := s.verify(string(challenge))
		if err == nil {
			s.step = scramDone
		}
		return response, err
	}
	return nil, sasl.ErrUnexpectedServerChallenge
}

// Complete fails unless the host has proved that it knows the password. RFC 4954 §4: the proof is in a challenge, and
// not in the text of the 235.
func (s *scramClient) Complete() error {
	if s.step != scramDone {
		return errors.New("SCRAM: the host didn't prove that it knows the password")
	}
	return nil
}

// prove answers the server-first-message: "r=" nonce ",s=" salt ",i=" iterations, and optional extensions.
func (s *scramClient) prove(message string) ([]byte, error) {
	if err := refusal(message); err != nil {
		return []byte{}, err
	}
	rest := message
	nonce, ok1 := attribute(&rest, 'r')
	salt64, ok2 := attribute(&rest, 's')
	count, ok3 := attribute(&rest, 'i')
	if !ok1 || !ok2 || !ok3 { // RFC 5802 §5.1: a mandatory extension, "m=", is the first attribute, and fails here
		return nil, errors.New("SCRAM: the host's first message is malformed")
	}
	// RFC 5802 §5: the nonce is ours followed by the host's. Otherwise the exchange could be a replay.
	if !strings.HasPrefix(nonce, s.nonce) || len(nonce) == len(s.nonce) {
		return nil, errors.New("SCRAM: the host's nonce doesn't begin with ours")
	}
	salt, err := base64.StdEncoding.Strict().DecodeString(salt64)
	if err != nil || len(salt) == 0 {
		return nil, errors.New("SCRAM: the host's salt is malformed")
	}
	iterations, err := strconv.ParseUint(count, 10, 32)
	if err != nil || iterations < minIterations || iterations > maxIterations {
		return nil, fmt.Errorf("SCRAM: the host asks for %.20q iterations, want %d to %d",
			count, minIterations, maxIterations)
	}
	salted, err := pbkdf2.Key(sha256.New, s.password, salt, int(iterations), sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("SCRAM: %w", err)
	}
	// RFC 5802 §3
	final := "c=" + base64.StdEncoding.EncodeToString(append([]byte(s.gs2), s.bound...)) + ",r=" + nonce
	auth := s.first + "," + message + "," + final
	clientKey := mac(salted, "Client Key")
	storedKey := sha256.Sum256(clientKey)
	proof := mac(storedKey[:], auth)
	for i := range proof {
		proof[i] ^= clientKey[i]
	}
	s.want = mac(mac(salted, "Server Key"), auth)
	return []byte(final + ",p=" + base64.StdEncoding.EncodeToString(proof)), nil
}

// verify checks the server-final-message: "v=" signature, and extensions.
func (s *scramClient) verify(message string) ([]byte, error) {
	if err := refusal(message); err != nil {
		return []byte{}, err
	}
	signature, ok := attribute(&message, 'v')
	got, err := base64.StdEncoding.Strict().DecodeString(signature)
	if !ok || err != nil || !hmac.Equal(got, s.want) {
		return nil, errors.New("SCRAM: the host's signature is wrong: it doesn't know the password")
	}
	return []byte{}, nil
}

// refusal returns the host's error in a message, such as "e=invalid-proof". After an empty response, the host sends its
// reply.
func refusal(message string) error {
	name, ok := attribute(&message, 'e')
	if !ok {
		return nil
	}
	return fmt.Errorf("SCRAM: the host answers %s", word(name))
}

// attribute removes the first attribute from a list and returns its value, if it has that name.
func attribute(list *string, name byte) (value string, ok bool) {
	first, rest, _ := strings.Cut(*list, ",")
	if len(first) < 2 || first[0] != name || first[1] != '=' {
		return "", false
	}
	*list = rest
	return first[2:], true
}

func mac(key []byte, message string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(message))
	return h.Sum(nil)
}
