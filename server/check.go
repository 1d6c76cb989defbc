package server

import (
	"errors"
	"fmt"
	"time"
)

// Check reports the first error in the fields, and how to correct it. Serve calls it.
func (s *Server) Check() error {
	switch {
	case s.Handler == nil:
		return errors.New("server: Handler is nil: set a Handler, which receives the mail")
	case s.Hostname != "" && !validHello(s.Hostname):
		return fmt.Errorf("server: Hostname %q is no host name or address literal in ASCII:"+
			" set it to this machine's name in the DNS", s.Hostname)
	case s.RequireAuth && s.Authenticate == nil:
		return errors.New("server: RequireAuth is true, but Authenticate is nil, so no client could send mail:" +
			" set Authenticate")
	}
	for _, f := range []struct {
		name  string
		value int64
		zero  any // what 0 means
	}{
		{"MaxSize", s.MaxSize, defaultMaxSize},
		{"MaxLine", int64(s.MaxLine), "no bound"},
		{"MaxRecipients", int64(s.MaxRecipients), defaultMaxRecipients},
		{"MaxDrain", s.MaxDrain, "MaxSize"},
		{"MaxErrors", int64(s.MaxErrors), defaultMaxErrors},
		{"MaxCommands", int64(s.MaxCommands), defaultMaxCommands},
		{"MaxConns", int64(s.MaxConns), defaultMaxConns},
		{"MaxConnsPerIP", int64(s.MaxConnsPerIP), defaultMaxConnsPerIP},
		{"MinDataRate", int64(s.MinDataRate), defaultMinDataRate},
	} {
		if f.value < 0 {
			return negative(f.name, f.value, f.zero)
		}
	}
	for _, f := range []struct {
		name        string
		value, zero time.Duration
	}{
		{"CommandTimeout", s.CommandTimeout, defaultCommandTimeout},
		{"DataTimeout", s.DataTimeout, defaultDataTimeout},
		{"SessionTimeout", s.SessionTimeout, defaultSessionTimeout},
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
