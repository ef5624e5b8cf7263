package cases

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// taken are the fields of a form, those of entries under their list's name.
func taken(takes string) (own []string, entries map[string][]string) {
	entries = map[string][]string{}
	for _, found := range regexp.MustCompile(`(\w+\??)(?:\[([^]]*)\])?`).FindAllStringSubmatch(takes, -1) {
		own = append(own, found[1])
		if found[2] != "" {
			entries[strings.TrimSuffix(found[1], "?")] = strings.Fields(found[2])
		}
	}
	return own, entries
}

func bare(field string) string { return strings.TrimSuffix(field, "?") }

// Which fields a rule took was to be learned from its refusals: the manual lists
// them, and this holds the list to what the rules do.
func TestManual(t *testing.T) {
	told := map[reflect.Type]map[string]bool{}
	tell := func(of reflect.Type, field string) reflect.Type {
		if told[of] == nil {
			told[of] = map[string]bool{}
		}
		told[of][bare(field)] = true
		found := fieldType(of, bare(field))
		if found == nil {
			t.Errorf("%v has no field %s", of, field)
		}
		return found
	}
	named := 0
	for _, rule := range Manual() {
		named += len(rule.Names)
		for _, name := range rule.Names {
			if got := Rules[name]; got == nil || got.Does != rule.Does {
				t.Errorf("%s is not cleared as the manual says", name)
			}
		}
		for _, form := range rule.Forms {
			own, entries := taken(form.Takes)
			for _, field := range own {
				of := tell(reflect.TypeFor[Case](), field)
				for _, entry := range entries[bare(field)] {
					tell(of.Elem(), entry)
				}
			}
			checkExample(t, form, own, entries)
		}
	}
	if len(Rules) != named {
		t.Errorf("%d rules, of which the manual tells %d", len(Rules), named)
	}
	for of, told := range told {
		for i := range of.NumField() {
			field, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
			if common := []string{"id", "rule", "source", "note", "expect", "float", "tolerance"}; of == reflect.TypeFor[Case]() && slices.Contains(common, field) {
				continue
			}
			if expected := []string{"all_colluding_numerator", "denominator", "ppm_floor"}; !told[field] && !slices.Contains(expected, field) {
				t.Errorf("the manual lacks %s of %v", field, of)
			}
		}
	}
}

// checkExample clears an example: it prints what the form says, and without any
// field that the form says is needed it is refused.
func checkExample(t *testing.T, form Form, own []string, entries map[string][]string) {
	_, r, err := run(form.Example)
	if err != nil {
		t.Errorf("%s: %v", form.Example, err)
		return
	}
	prints := strings.Fields(form.Prints)
	for field := range r {
		if !slices.Contains(prints, field) && !slices.Contains(prints, field+"?") {
			t.Errorf("%s prints %s, which is not told", form.Example, field)
		}
	}
	for _, field := range prints {
		if _, ok := r[field]; !ok && !strings.HasSuffix(field, "?") {
			t.Errorf("%s does not print %s", form.Example, field)
		}
	}
	for _, field := range own {
		refusedWithout(t, form.Example, field, nil)
		for _, entry := range entries[bare(field)] {
			refusedWithout(t, form.Example, entry, []string{bare(field)})
		}
	}
}

// refusedWithout drops a needed field of an example, or of the first entry of its
// list.
func refusedWithout(t *testing.T, example, field string, list []string) {
	if strings.HasSuffix(field, "?") {
		return
	}
	var c map[string]any
	if err := decodeNumbers([]byte(example), &c); err != nil {
		t.Fatal(err)
	}
	from := c
	for _, name := range list {
		from = c[name].([]any)[0].(map[string]any)
	}
	if _, ok := from[field]; !ok {
		t.Errorf("%s lacks %s, which it needs", example, field)
	}
	delete(from, field)
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, r, err := run(string(text)); err == nil {
		t.Errorf("%s is cleared as %v, without %s", text, r, field)
	}
}

// The words of the document that the pool is from are its fields too; what is not
// given is the document's.
func TestPoolIsGiven(t *testing.T) {
	for fields, want := range map[string]float64{
		``: 100, `,"pool":50000`: 50, `,"reserved":50000`: 50, `,"own":0.02`: 200, `,"improvement":0.02`: 200,
		`,"reserved":10,"improvements":4,"improvement":1`: 2.5,
	} {
		_, r, err := run(`{"rule":"lab-pool"` + fields + `}`)
		if got, _ := r["share"].(float64); err != nil || fmt.Sprintf("%.9g", got) != fmt.Sprintf("%.9g", want) {
			t.Errorf("%s: %v, %v; want %v", fields, r, err, want)
		}
	}
}
