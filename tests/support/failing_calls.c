/*
 * Makes system calls on files below a directory fail, in any program that calls them by way of the C library.
 *
 * FAILING_CALLS   which: names from the table of kinds, separated by commas
 * FAILING_BELOW   the directory, or any other beginning of a path
 * FAILING_NAME    a text that the path must also contain (none: any path)
 * FAILING_ERRNO   the error, as a number
 * FAILING_SIGNAL  a signal, as a number, that comes to the process in place of the failure (none: they fail)
 * FAILING_FROM    the first of those calls that fails, counted from 1
 * FAILING_TIMES   how many fail from there on (0: all of them)
 * FAILING_LOG     a file that gets a line for each of those calls: "failed" or "passed", the kind, the path
 *
 * A close that fails has closed all the same, as the kernel does it. Only files that were opened for writing count,
 * because nothing of the others can be lost. A call that fails has had no other effect.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int seen;

static const char *setting(const char *name)
{
	const char *value = getenv(name);
	return value ? value : "";
}

/* Whether a list with commas has this name. */
static int lists(const char *list, const char *name)
{
	size_t length = strlen(name);
	for (const char *at = list; (at = strstr(at, name)); at += length)
		if ((at == list || at[-1] == ',') && (at[length] == 0 || at[length] == ','))
			return 1;
	return 0;
}

static void note(const char *what, const char *kind, const char *path)
{
	char line[PATH_MAX + 64];
	const char *log = setting("FAILING_LOG");
	int length, file;

	if (!*log)
		return;
	length = snprintf(line, sizeof line, "%s %s %s\n", what, kind, path);
	file = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (file >= 0) {
		syscall(SYS_write, file, line, length);
		syscall(SYS_close, file);
	}
}

/* Whether this call is to fail; errno is set then, and as it was otherwise. */
static int fails(const char *kind, const char *path)
{
	int before = errno, from = atoi(setting("FAILING_FROM")), times = atoi(setting("FAILING_TIMES"));
	const char *below = setting("FAILING_BELOW");
	int number, failed;

	if (!lists(setting("FAILING_CALLS"), kind) || !*below || strncmp(path, below, strlen(below)) != 0
	    || !strstr(path, setting("FAILING_NAME")))
		return 0;
	number = __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST);
	failed = from > 0 && number >= from && (times == 0 || number < from + times);
	note(failed ? "failed" : "passed", kind, path);
	if (failed && atoi(setting("FAILING_SIGNAL"))) {
		raise(atoi(setting("FAILING_SIGNAL")));
		failed = 0;
	}
	errno = failed ? atoi(setting("FAILING_ERRNO")) : before;
	return failed;
}

/* The path of an open file. */
static const char *path_of(int file, char *path)
{
	char link[64];
	ssize_t length;

	snprintf(link, sizeof link, "/proc/self/fd/%d", file);
	length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
	path[length > 0 ? length : 0] = 0;
	return path;
}

static int fails_at(const char *kind, int directory, const char *name)
{
	char path[2 * PATH_MAX], at[PATH_MAX];

	if (name[0] == '/')
		snprintf(path, sizeof path, "%s", name);
	else if (directory == AT_FDCWD)
		snprintf(path, sizeof path, "%s/%s", getcwd(at, sizeof at) ? at : "", name);
	else
		snprintf(path, sizeof path, "%s/%s", path_of(directory, at), name);
	return fails(kind, path);
}

static int fails_on(const char *kind, int file)
{
	char path[PATH_MAX];
	int before = errno, failed;

	path_of(file, path);
	errno = before;
	failed = fails(kind, path);
	return failed;
}

#define NEXT(name, type) ((type) dlsym(RTLD_NEXT, name))

#define ON_FILE(result, name, kind, parameters, arguments) \
	result name parameters \
	{ \
		if (fails_on(kind, file)) \
			return -1; \
		return NEXT(#name, result (*) parameters) arguments; \
	}

ON_FILE(ssize_t, write, "write", (int file, const void *bytes, size_t count), (file, bytes, count))
ON_FILE(ssize_t, pwrite, "write", (int file, const void *bytes, size_t count, off_t at), (file, bytes, count, at))
ON_FILE(ssize_t, pwrite64, "write", (int file, const void *bytes, size_t count, off64_t at), (file, bytes, count, at))
ON_FILE(ssize_t, writev, "write", (int file, const struct iovec *parts, int count), (file, parts, count))
ON_FILE(int, fsync, "sync", (int file), (file))
ON_FILE(int, fdatasync, "sync", (int file), (file))
ON_FILE(int, syncfs, "sync", (int file), (file))
ON_FILE(int, ftruncate, "allocate", (int file, off_t length), (file, length))
ON_FILE(int, ftruncate64, "allocate", (int file, off64_t length), (file, length))
ON_FILE(int, fallocate, "allocate", (int file, int mode, off_t at, off_t length), (file, mode, at, length))
ON_FILE(int, fallocate64, "allocate", (int file, int mode, off64_t at, off64_t length), (file, mode, at, length))
ON_FILE(int, fchmod, "chmod", (int file, mode_t mode), (file, mode))

/* Some libraries make this call by its number. */
long syscall(long number, ...)
{
	static long (*next)(long, ...);
	long all[6];
	va_list arguments;

	va_start(arguments, number);
	for (int i = 0; i < 6; i++)
		all[i] = va_arg(arguments, long);
	va_end(arguments);
	if (number == SYS_fchmod && fails_on("chmod", (int) all[0]))
		return -1;
	if (!next)
		next = NEXT("syscall", long (*)(long, ...));
	return next(number, all[0], all[1], all[2], all[3], all[4], all[5]);
}

#define AT(result, name, kind, directory, path, parameters, arguments) \
	result name parameters \
	{ \
		if (fails_at(kind, directory, path)) \
			return -1; \
		return NEXT(#name, result (*) parameters) arguments; \
	}

AT(int, chmod, "chmod", AT_FDCWD, path, (const char *path, mode_t mode), (path, mode))
AT(int, mkdir, "mkdir", AT_FDCWD, path, (const char *path, mode_t mode), (path, mode))
AT(int, mkdirat, "mkdir", directory, path, (int directory, const char *path, mode_t mode), (directory, path, mode))
AT(int, symlink, "symlink", AT_FDCWD, path, (const char *target, const char *path), (target, path))
AT(int, symlinkat, "symlink", directory, path, (const char *target, int directory, const char *path),
   (target, directory, path))
AT(int, rename, "rename", AT_FDCWD, to, (const char *from, const char *to), (from, to))
AT(int, renameat, "rename", to_directory, to, (int directory, const char *from, int to_directory, const char *to),
   (directory, from, to_directory, to))
AT(int, renameat2, "rename", to_directory, to,
   (int directory, const char *from, int to_directory, const char *to, unsigned flags),
   (directory, from, to_directory, to, flags))
AT(int, unlink, "remove", AT_FDCWD, path, (const char *path), (path))
AT(int, rmdir, "remove", AT_FDCWD, path, (const char *path), (path))
AT(int, unlinkat, "remove", directory, path, (int directory, const char *path, int flags), (directory, path, flags))

/* Files are made with "create" and only opened with "open". */
static int opened(const char *name, int directory, const char *path, int flags, mode_t mode)
{
	int creates = (flags & O_CREAT) != 0;

	if (fails_at(creates ? "create" : "open", directory, path))
		return -1;
	if (strstr(name, "at"))
		return NEXT(name, int (*)(int, const char *, int, ...))(directory, path, flags, mode);
	return NEXT(name, int (*)(const char *, int, ...))(path, flags, mode);
}

static mode_t mode_of(int flags, va_list arguments)
{
	return flags & (O_CREAT | __O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
}

#define OPEN(name, directory, parameters) \
	int name parameters \
	{ \
		va_list arguments; \
		mode_t mode; \
 \
		va_start(arguments, flags); \
		mode = mode_of(flags, arguments); \
		va_end(arguments); \
		return opened(#name, directory, path, flags, mode); \
	}

OPEN(open, AT_FDCWD, (const char *path, int flags, ...))
OPEN(open64, AT_FDCWD, (const char *path, int flags, ...))
OPEN(openat, directory, (int directory, const char *path, int flags, ...))
OPEN(openat64, directory, (int directory, const char *path, int flags, ...))

int close(int file)
{
	int before = errno, flags = fcntl(file, F_GETFL), failed, error;

	errno = before;
	failed = flags >= 0 && (flags & O_ACCMODE) != O_RDONLY && fails_on("close", file);
	error = errno;
	if (!failed)
		return NEXT("close", int (*)(int))(file);
	NEXT("close", int (*)(int))(file);
	errno = error;
	return -1;
}
