/* Between the parts of the inbox. A handler gives 0, 1 for a malformed payload, or −1 with err; the
 * far end is told, as of something illegal if the handler does not say otherwise in `complaint`. */
#ifndef PRIMARY_PUSH_INBOX_INBOX_IMPL_H
#define PRIMARY_PUSH_INBOX_INBOX_IMPL_H

#include "primary/push/push_impl.h"

/* ---- inbox.c ---- */

void inbox_changed(struct push *p); /* status has something new to show */
/* The site of this number. 1; 0: it was closed meanwhile; −1: it never was one. */
int inbox_find_site(struct push *p, uint32_t number, struct push_site **out, struct err *err);
enum err_code inbox_code_of(uint16_t reason);

/* ---- inbox_site.c ---- */

int inbox_on_opened(struct push *p, struct bytes payload, struct err *err);
int inbox_on_site_error(struct push *p, struct bytes payload, struct err *err);

/* ---- inbox_news.c ---- */

int inbox_on_trash(struct push *p, struct bytes payload, struct err *err);
int inbox_on_hook(struct push *p, struct bytes payload, struct err *err);
int inbox_on_told(struct push *p, struct bytes payload, struct err *err);
int inbox_on_space(struct push *p, struct bytes payload, struct err *err);
int inbox_on_proving(struct push *p, struct bytes payload, struct err *err);
int inbox_on_drift(struct push *p, struct bytes payload, struct err *err);

#endif
