package client

import (
	"crypto/hmac"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/emersion/go-sasl"

	"github.com/postrider/postrider/internal/scram"
	"github.com/postrider/postrider/smtp"
)

// maxIterations bounds the iterations that a host may ask for: about 0.5 s of one processor, 2 s without instructions
// for SHA-256. The usual advice for stored passwords is 600,000.
const maxIterations = 2_000_000

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
	username, err := scram.Prepare(c.Username)
	if err != nil {
		return nil, fmt.Errorf("Credentials.Username: %w", err)
	}
	password, err := scram.Prepare(c.Password)
	if err != nil {
		return nil, fmt.Errorf("Credentials.Password: %w", err)
	}
	s := &scramClient{mech: scram.SHA256, gs2: flag + ",", bound: bound, password: password, nonce: c.nonce}
	if bound != nil {
		s.mech = scram.SHA256Plus
	}
	if c.AuthorizationID != "" {
		authzid, err := scram.Prepare(c.AuthorizationID)
		if err != nil {
			return nil, fmt.Errorf("Credentials.AuthorizationID: %w", err)
		}
		s.gs2 += "a=" + scram.Name(authzid)
	}
	s.gs2 += ","
	if s.nonce == "" {
		s.nonce = rand.Text()
	}
	s.first = "n=" + scram.Name(username) + ",r=" + s.nonce
	return s, nil
}

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
	nonce, ok1 := scram.Attribute(&rest, 'r')
	salt64, ok2 := scram.Attribute(&rest, 's')
	count, ok3 := scram.Attribute(&rest, 'i')
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
	if err != nil || iterations < scram.MinIterations || iterations > maxIterations {
		return nil, fmt.Errorf("SCRAM: the host asks for %.20q iterations, want %d to %d",
			count, scram.MinIterations, maxIterations)
	}
	keys, err := scram.Derive(s.password, salt, int(iterations))
	if err != nil {
		return nil, fmt.Errorf("SCRAM: %w", err)
	}
	// RFC 5802 §3
	final := "c=" + base64.StdEncoding.EncodeToString(append([]byte(s.gs2), s.bound...)) + ",r=" + nonce
	auth := s.first + "," + message + "," + final
	proof := scram.Mask(keys.Client, keys.Stored, auth)
	s.want = scram.MAC(keys.Server, auth)
	return []byte(final + ",p=" + base64.StdEncoding.EncodeToString(proof)), nil
}

// verify checks the server-final-message: "v=" signature, and extensions.
func (s *scramClient) verify(message string) ([]byte, error) {
	if err := refusal(message); err != nil {
		return []byte{}, err
	}
	signature, ok := scram.Attribute(&message, 'v')
	got, err := base64.StdEncoding.Strict().DecodeString(signature)
	if !ok || err != nil || !hmac.Equal(got, s.want) {
		return nil, errors.New("SCRAM: the host's signature is wrong: it doesn't know the password")
	}
	return []byte{}, nil
}

// refusal returns the host's error in a message, such as "e=invalid-proof". After an empty response, the host sends its
// reply.
func refusal(message string) error {
	name, ok := scram.Attribute(&message, 'e')
	if !ok {
		return nil
	}
	return fmt.Errorf("SCRAM: the host answers %s", word(name))
}
