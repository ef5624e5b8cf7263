package main

import (
	"fmt"
	"strings"
)

// greeting is a sentence for somebody, polite also to those who shout.
func greeting(name string) string {
	if name == strings.ToUpper(name) && name != strings.ToLower(name) {
		return fmt.Sprintf("No need to shout, %s.", name)
	}
	return fmt.Sprintf("Hello, %s.", name)
}
