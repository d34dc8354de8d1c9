# The rules that nginx's Makefile gets for this module. The engine and neatd have to lie beside the module: they are built
# and installed with it. Each file is replaced by a rename, so that a running server keeps the one that it has mapped.

ngx_wsgi_objs=$(cd $NGX_OBJS && pwd)
ngx_wsgi_target=$ngx_wsgi_objs/ngx_http_wsgi_module

cat << END                                                    >> $NGX_MAKEFILE

modules:	$NGX_OBJS/ngx_http_wsgi_module.so

.PHONY:	$NGX_OBJS/ngx_http_wsgi_module.so install_ngx_http_wsgi_module

$NGX_OBJS/ngx_http_wsgi_module.so:
	NGINX_SOURCE_DIR='$PWD' NGINX_BUILD_DIR='$ngx_wsgi_objs' CARGO_TARGET_DIR='$ngx_wsgi_target' \\
		${CARGO:-cargo} build --release --locked --manifest-path '$ngx_addon_dir/../Cargo.toml' \\
		-p ngx-http-wsgi-module -p neat-engine -p neatd
	cp '$ngx_wsgi_target/release/libngx_http_wsgi_module.so' '$ngx_wsgi_objs/ngx_http_wsgi_module.so'
	cp '$ngx_wsgi_target/release/libneat_engine.so' '$ngx_wsgi_objs/neat_engine.abi3.so'
	cp '$ngx_wsgi_target/release/neatd' '$ngx_wsgi_objs/neatd'

install:	install_ngx_http_wsgi_module

install_ngx_http_wsgi_module:	$NGX_OBJS/ngx_http_wsgi_module.so
	mkdir -p '\$(DESTDIR)$NGX_MODULES_PATH'
	for file in ngx_http_wsgi_module.so neat_engine.abi3.so neatd; do \\
		cp "$ngx_wsgi_objs/\$\$file" '\$(DESTDIR)$NGX_MODULES_PATH/'".\$\$file.new" \\
		&& mv -f '\$(DESTDIR)$NGX_MODULES_PATH/'".\$\$file.new" '\$(DESTDIR)$NGX_MODULES_PATH/'"\$\$file" || exit 1; \\
	done
END
