package server

import (
	"errors"
	"fmt"
	"time"

	"github.com/postrider/postrider/smtp"
)

// Check reports the first error in the fields, and how to correct it. Serve calls it.
func (s *Server) Check() error {
	switch {
	case s.Handler == nil:
		return errors.New("server: Handler is nil: set a Handler, which receives the mail")
	case s.Hostname != "" && !validHostname(s.Hostname):
		return fmt.Errorf("server: Hostname %q is no host name or address literal in ASCII:"+
			" set it to this machine's name in the DNS", s.Hostname)
	case s.TLSConfig != nil && len(s.TLSConfig.Certificates) == 0 && s.TLSConfig.GetCertificate == nil &&
		s.TLSConfig.GetConfigForClient == nil:
		return errors.New("server: TLSConfig has no certificate, so each handshake would fail: set its Certificates," +
			" GetCertificate or GetConfigForClient")
	case s.RequireAuth && !s.authenticates():
		return errors.New("server: RequireAuth is true, but no client can authenticate: set Authenticate," +
			" StoredCredentials or CheckToken")
	}
	for i, c := range s.Checks {
		if c.Name == "" {
			return fmt.Errorf("server: Checks[%d] has no Name: set one, for log lines and findings", i)
		}
		if c.Fault != nil {
			return fmt.Errorf("server: Checks[%d], %s: %w", i, c.Name, c.Fault)
		}
		if s.RequireAuth && !c.Trusted && (c.Mail != nil || c.Rcpt != nil || c.Content != nil) {
			return fmt.Errorf("server: Checks[%d], %s: RequireAuth is true, so its Mail, Rcpt and Content are never"+
				" called: set its Trusted", i, c.Name)
		}
	}
	for _, f := range []struct {
		name  string
		value int64
		zero  any // what 0 means
	}{
		{"MaxTemp", s.MaxTemp, defaultMaxTemp},
		{"MaxSize", s.MaxSize, defaultMaxSize},
		{"MaxLine", int64(s.MaxLine), "no bound"},
		{"MaxMails", int64(s.MaxMails), "no bound"},
		{"MaxRecipients", int64(s.MaxRecipients), defaultMaxRecipients},
		{"MaxHeader", int64(s.MaxHeader), defaultMaxHeader},
		{"MaxHeaderFields", int64(s.MaxHeaderFields), defaultMaxHeaderFields},
		{"MaxEnvelope", int64(s.MaxEnvelope), defaultMaxEnvelope},
		{"MaxMemory", s.MaxMemory, defaultMaxMemory},
		{"MaxDrain", s.MaxDrain, "MaxSize"},
		{"MaxErrors", int64(s.MaxErrors), defaultMaxErrors},
		{"MaxCommands", int64(s.MaxCommands), defaultMaxCommands},
		{"MaxConns", int64(s.MaxConns), defaultMaxConns},
		{"MaxConnsPerIP", int64(s.MaxConnsPerIP), defaultMaxConnsPerIP},
		{"MaxAuthFailures", int64(s.MaxAuthFailures), defaultMaxAuthFailures},
		{"SCRAMIterations", int64(s.SCRAMIterations), defaultIterations},
		{"MaxConnsPerNetwork", int64(s.MaxConnsPerNetwork), "twice MaxConnsPerIP"},
		{"MinDataRate", int64(s.MinDataRate), defaultMinDataRate},
	} {
		if f.value < 0 {
			return negative(f.name, f.value, f.zero)
		}
	}
	for _, f := range []struct {
		name  string
		value time.Duration
		zero  any
	}{
		{"AuthPause", s.AuthPause, defaultAuthPause},
		{"AuthMemory", s.AuthMemory, defaultAuthMemory},
		{"AuthDelay", s.AuthDelay, defaultAuthDelay},
		{"MinDeliverBy", s.MinDeliverBy, time.Second},
		{"MaxHold", s.MaxHold, "no FUTURERELEASE"},
		{"CommandTimeout", s.CommandTimeout, defaultCommandTimeout},
		{"DataTimeout", s.DataTimeout, defaultDataTimeout},
		{"SessionTimeout", s.SessionTimeout, defaultSessionTimeout},
		{"DrainTimeout", s.DrainTimeout, defaultDrainTimeout},
		{"CloseTimeout", s.CloseTimeout, defaultCloseTimeout},
		{"Grace", s.Grace, defaultGrace},
	} {
		if f.value < 0 {
			return negative(f.name, f.value, f.zero)
		}
	}
	return nil
}

func negative(field string, value, zero any) error {
	return fmt.Errorf("server: %s is %v: set it to more than 0, or to 0 for the default (%v)", field, value, zero)
}

// validHostname reports whether name is a host name or an address literal in ASCII. It goes into the greeting and the
// reply to EHLO.
func validHostname(name string) bool {
	return !smtp.NeedsUTF8(name) && smtp.CheckAddress("postmaster@"+name) == nil
}
