/* The few string functions that a plan needs, and the four that the compiler calls on its own. */
#include "sys.h"

size_t text_length(const char *s) {
    size_t n = 0;
    while (s[n])
        n++;
    return n;
}

bool text_equal(const char *a, const char *b) {
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

bool text_starts(const char *s, const char *prefix) {
    while (*prefix && *s == *prefix)
        s++, prefix++;
    return !*prefix;
}

void text_add(char *buf, size_t size, size_t *at, const char *s) {
    while (*s && *at + 1 < size)
        buf[(*at)++] = *s++;
    if (*at < size)
        buf[*at] = 0;
}

void text_add_number(char *buf, size_t size, size_t *at, unsigned long n) {
    char digits[24];
    size_t i = sizeof digits;
    digits[--i] = 0;
    do
        digits[--i] = (char)('0' + n % 10);
    while (n /= 10);
    text_add(buf, size, at, digits + i);
}

unsigned long text_number(const char *s, const char **end) {
    unsigned long n = 0;
    for (; *s >= '0' && *s <= '9'; s++)
        n = n * 10 + (unsigned long)(*s - '0');
    if (end)
        *end = s;
    return n;
}

#ifndef HOSTED
void *memcpy(void *restrict to, const void *restrict from, size_t n) {
    char *t = to;
    const char *f = from;
    while (n--)
        *t++ = *f++;
    return to;
}

void *memmove(void *to, const void *from, size_t n) {
    char *t = to;
    const char *f = from;
    if (t < f)
        return memcpy(to, from, n);
    while (n--)
        t[n] = f[n];
    return to;
}

void *memset(void *to, int c, size_t n) {
    char *t = to;
    while (n--)
        *t++ = (char)c;
    return to;
}

int memcmp(const void *a, const void *b, size_t n) {
    const unsigned char *x = a, *y = b;
    for (; n--; x++, y++)
        if (*x != *y)
            return *x - *y;
    return 0;
}
#endif
