package native

import (
	"strings"
	"testing"
)

func TestRemedyNamesTheSetting(t *testing.T) {
	for name, c := range map[string]struct{ setting, value, want string }{
		"debian":  {"kernel.unprivileged_userns_clone", "0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"},
		"ubuntu":  {"kernel.apparmor_restrict_unprivileged_userns", "1", "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"},
		"limited": {"user.max_user_namespaces", "0", "sudo sysctl -w user.max_user_namespaces=10000"},
		"none":    {"other", "1", "--sandbox docker"},
	} {
		got := remedy(1, func(s string) string {
			if s == c.setting {
				return c.value
			}
			return ""
		})
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: %q does not say %q", name, got, c.want)
		}
	}
}
