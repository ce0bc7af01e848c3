" ~/.vimrc (Vim 9.1 or newer) or init.vim (Neovim), for ggml-org/llama.vim; it needs curl.
" Change both endpoints' host and the token.
let g:llama_config = {
    \ 'endpoint_fim': 'https://kodify.example.com/infill',
    \ 'endpoint_inst': 'https://kodify.example.com/v1/chat/completions',
    \ 'api_key': 'kdf_…',
    \ 'n_predict': 128,
    \ 't_max_predict_ms': 1000,
    \ 'auto_fim': v:true,
    \ 'show_info': 0,
    \ }
