/* What httpd's and APR's headers say as macros, as functions that bindgen sees. macros.c has them compiled from the headers of the
 * machine, so that the header decides what they do. */
#ifndef NEAT_MACROS_H
#define NEAT_MACROS_H

#include "httpd.h"
#include "http_config.h"
#include "apr_buckets.h"

/* APR_BRIGADE_FIRST, or NULL where it is the sentinel (APR_BRIGADE_EMPTY). */
apr_bucket *neat_brigade_first(apr_bucket_brigade *brigade);

/* APR_BRIGADE_INSERT_TAIL. */
void neat_brigade_insert_tail(apr_bucket_brigade *brigade, apr_bucket *bucket);

/* apr_bucket_delete: takes a bucket out of its ring and destroys it. */
void neat_bucket_delete(apr_bucket *bucket);

/* STANDARD20_MODULE_STUFF, and nothing else, for the test that compares. */
void neat_standard_module(module *record);

#endif
