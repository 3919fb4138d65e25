/* SPDX-License-Identifier: BSD-2-Clause */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "human.h"

#define EXACT_BELOW (10ULL << 20)

const char *human__count(char buf[HUMAN_LEN], uint64_t n)
{
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%" PRIu64, n);
	char *to = buf;

	for (int i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			*to++ = ',';
		*to++ = digits[i];
	}
	*to = '\0';
	return buf;
}

/* Two or three digits: nobody compares the fourth. */
static void three_digits(char buf[HUMAN_LEN], double v, const char *unit)
{
	snprintf(buf, HUMAN_LEN, "%.*f %s", v < 9.95 ? 1 : 0, v, unit);
}

const char *human__bytes(char buf[HUMAN_LEN], uint64_t n)
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double v = (double)n / 1024;
	size_t i = 0;

	if (n < 1024) {
		snprintf(buf, HUMAN_LEN, "%u B", (unsigned int)n);
		return buf;
	}
	for (; v >= 1023.5 && i < sizeof(units) / sizeof(*units) - 1; i++)
		v /= 1024;
	three_digits(buf, v, units[i]);
	return buf;
}

const char *human__exact(char buf[HUMAN_LEN], uint64_t n)
{
	if (n >= EXACT_BELOW)
		return human__bytes(buf, n);
	human__count(buf, n);
	strcat(buf, " B");
	return buf;
}

const char *human__time(char buf[HUMAN_LEN], uint64_t ns)
{
	const uint64_t s = ns / 1000000000;

	if (ns < 1000)
		snprintf(buf, HUMAN_LEN, "%u ns", (unsigned int)ns);
	else if (ns < 999500)
		three_digits(buf, (double)ns / 1e3, "us");
	else if (ns < 999500000)
		three_digits(buf, (double)ns / 1e6, "ms");
	else if (s < 60)
		three_digits(buf, (double)ns / 1e9, "s");
	else if (s < 3600)
		snprintf(buf, HUMAN_LEN, "%u min %u s", (unsigned int)s / 60, (unsigned int)s % 60);
	else
		snprintf(buf, HUMAN_LEN, "%" PRIu64 " h %u min", s / 3600,
			 (unsigned int)(s / 60 % 60));
	return buf;
}

const char *human__moment(char buf[HUMAN_LEN], uint64_t ns)
{
	human__date(buf, ns);
	buf[10] = ' ';
	strcpy(buf + 19, " UTC");
	return buf;
}

const char *human__date(char buf[HUMAN_LEN], uint64_t ns)
{
	time_t s = ns / 1000000000;
	struct tm tm;
	size_t n;

	if (!gmtime_r(&s, &tm))
		memset(&tm, 0, sizeof(tm));
	n = strftime(buf, HUMAN_LEN, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(buf + n, HUMAN_LEN - n, ".%09uZ", (unsigned int)(ns % 1000000000));
	return buf;
}
