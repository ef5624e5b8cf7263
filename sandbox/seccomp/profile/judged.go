package profile

import (
	"math/bits"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"gavel/sandbox/seccomp"
)

// judged writes both halves of a judgement, what is allowed and what answers
// EPERM, as rules that never hold at once: libseccomp does not order rules of two
// actions for one call, and its comparison for inequality reads the argument's
// high half, of which the kernel knows nothing.
func judged(j seccomp.Judgement) []specs.LinuxSyscall {
	allowed, denied := j.Cases, complement(j.Cases)
	if j.Deny {
		allowed, denied = denied, allowed
	}
	var rules []specs.LinuxSyscall
	for _, c := range allowed {
		rules = append(rules, specs.LinuxSyscall{Names: []string{names[j.Call]}, Action: specs.ActAllow, Args: arguments(c)})
	}
	for _, c := range denied {
		rules = append(rules, specs.LinuxSyscall{Names: []string{names[j.Call]}, Action: specs.ActErrno, ErrnoRet: errno(unix.EPERM), Args: arguments(c)})
	}
	return rules
}

func arguments(conditions []seccomp.Condition) []specs.LinuxSeccompArg {
	var args []specs.LinuxSeccompArg
	for _, c := range conditions {
		args = append(args, specs.LinuxSeccompArg{Index: uint(c.Arg), Op: specs.OpMaskedEqual, Value: uint64(c.Mask), ValueTwo: uint64(c.Value)})
	}
	return args
}

// complement returns cases that cover all arguments which none of the given cases
// does. It asks one bit after another, the highest first, until those that are
// known settle it.
func complement(cases [][]seccomp.Condition) (rest [][]seccomp.Condition) {
	var ask func(known []seccomp.Condition)
	ask = func(known []seccomp.Condition) {
		arg, bit := uint32(0), uint32(0)
		for _, c := range cases {
			a, b, open := undecided(c, known)
			switch {
			case open && b == 0: // this case holds
				return
			case open && bit == 0:
				arg, bit = a, b
			}
		}
		if bit == 0 {
			rest = append(rest, known)
			return
		}
		ask(learn(known, arg, bit, 0))
		ask(learn(known, arg, bit, bit))
	}
	ask(nil)
	return rest
}

// undecided is the first bit on which a case still depends, or none if it holds;
// not open is a case that does not hold.
func undecided(conditions, known []seccomp.Condition) (arg, bit uint32, open bool) {
	for _, c := range conditions {
		var k seccomp.Condition
		if i := slices.IndexFunc(known, func(k seccomp.Condition) bool { return k.Arg == c.Arg }); i >= 0 {
			k = known[i]
		}
		if (k.Value^c.Value)&k.Mask&c.Mask != 0 {
			return 0, 0, false
		}
		if left := c.Mask &^ k.Mask; left != 0 && bit == 0 {
			arg, bit = c.Arg, 1<<(bits.Len32(left)-1)
		}
	}
	return arg, bit, true
}

// learn adds the value of a bit to what is known.
func learn(known []seccomp.Condition, arg, bit, value uint32) []seccomp.Condition {
	known = slices.Clone(known)
	i := slices.IndexFunc(known, func(k seccomp.Condition) bool { return k.Arg == arg })
	if i < 0 {
		i = len(known)
		known = append(known, seccomp.Condition{Arg: arg})
	}
	known[i].Mask |= bit
	known[i].Value |= value
	return known
}
