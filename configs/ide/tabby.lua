-- Neovim's init.lua, for TabbyML/vim-tabby 2 with neovim/nvim-lspconfig, and `npm install --global tabby-agent`.
-- The endpoint and the token are in ~/.tabby-client/agent/config.toml: see tabby-agent.toml.
vim.g.tabby_agent_start_command = { "npx", "tabby-agent", "--stdio" }
vim.g.tabby_inline_completion_trigger = "auto"
vim.g.tabby_inline_completion_keybinding_accept = "<Tab>"
vim.g.tabby_inline_completion_keybinding_trigger_or_dismiss = "<C-\\>"
