#ifndef GREET_H
#define GREET_H

/* greet writes a greeting for somebody to standard output. */
void greet(const char *name);

#endif
