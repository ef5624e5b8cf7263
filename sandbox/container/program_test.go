package container

import (
	"strings"
	"testing"
)

func TestStatic(t *testing.T) {
	if err := static([]byte("#!/bin/sh\n")); err == nil {
		t.Error("a script was taken for a program")
	}
	if _, err := initProgram("/nonexistent/init"); err == nil || !strings.Contains(err.Error(), "/nonexistent/init") {
		t.Errorf("error %v", err)
	}
}
