/*
 * The subcommands. Each gets its own argument vector, argv[0] being the subcommand's name, prints
 * its own errors to standard error, and returns mirrord's exit code (enum err_code).
 */
#ifndef COMMAND_COMMAND_H
#define COMMAND_COMMAND_H

int command_init(int argc, char **argv);
int command_pair(int argc, char **argv);
int command_run(int argc, char **argv);
int command_resync(int argc, char **argv);
int command_verify(int argc, char **argv);
int command_status(int argc, char **argv);
int command_flush(int argc, char **argv);
int command_forget(int argc, char **argv);
int command_promote(int argc, char **argv);
int command_handover(int argc, char **argv);
int command_is_primary(int argc, char **argv);
int command_health(int argc, char **argv);
int command_trash(int argc, char **argv);
int command_identity(int argc, char **argv);
int command_check(int argc, char **argv);
int command_pause(int argc, char **argv);
int command_resume(int argc, char **argv);
int command_reload(int argc, char **argv);
int command_receive(int argc, char **argv);
int command_recover(int argc, char **argv);

#endif
