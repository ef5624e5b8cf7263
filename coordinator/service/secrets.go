package service

import (
	"regexp"
	"slices"
	"strings"
)

// secretWords are parts of a variable's name, between underscores, that say that
// its value should stay with its owner.
var secretWords = []string{
	"TOKEN", "TOKENS", "SECRET", "SECRETS", "PASSWD", "PASSPHRASE", "PWD", "CREDENTIAL", "CREDENTIALS", "COOKIE", "APIKEY",
}

// keyOwners are the words before KEY that make it a secret one; a CACHE_KEY is none.
var keyOwners = []string{"PRIVATE", "ACCESS", "API", "SIGNING", "DEPLOY", "SSH", "GPG", "PGP", "ENCRYPTION", "AUTH", "ACCOUNT", "MASTER"}

// secretValues are the forms of well-known credentials.
var secretValues = regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}|\bglpat-[A-Za-z0-9_-]{20,}|\bAKIA[0-9A-Z]{16}\b|\bxox[abprs]-[A-Za-z0-9-]{10,}|://[^/\s:@]+:[^/\s@]+@`)

// looksSecret says in half a sentence why a variable looks like a secret, or
// nothing. It is a net for mistakes, not for malice: the requester can always
// hide what it wants to give away.
func looksSecret(name, value string) string {
	words := strings.FieldsFunc(strings.ToUpper(name), func(r rune) bool { return r == '_' || r == '-' || r == '.' })
	for i, w := range words {
		last := i == len(words)-1
		switch {
		case w == "PWD" && len(words) == 1, w == "PWD" && i > 0 && words[i-1] == "OLD":
			// The shell's own.
		case slices.Contains(secretWords, w), strings.Contains(w, "PASSWORD"):
			return "has a secret's name"
		case w == "KEY" && i > 0 && (slices.Contains(keyOwners, words[i-1]) || words[0] == "AWS"), last && strings.HasSuffix(w, "APIKEY"):
			return "has a secret key's name"
		}
	}
	if secretValues.MatchString(value) {
		return "holds what looks like a credential"
	}
	return ""
}
