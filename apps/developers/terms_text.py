"""The developer terms of use that we come with: version 1 of every organisation that publishes none of its own.

Not translated: an agreement is to words, and these are the words.
"""

FIRST_TERMS = """\
## What you may build

You may ask people for access to their data here for the purpose that you describe when you register, and for nothing \
else. Say in plain words what your application does and why it needs each thing it asks for. Ask for the fewest things \
that it needs.

## What people have agreed to

People decide what they share, and may take it back at any time. When they do, stop using what you received, and \
delete it unless a law tells you to keep it. Do not sell it, and do not show it to anybody they would not expect.

## Keeping it safe

Keep the client secret, codes and tokens secret: on your server, not in an app, a web page, a log or a repository. \
Make a new client secret at once if somebody may have seen the old one, and tell us within 72 hours if somebody may \
have seen people's data.

## Review

Somebody reads what you submit before people can use it, and again when you ask for more. We may ask questions, ask \
for changes, refuse, or suspend an application that harms people or breaks these terms. We tell you why.

## Your team

Only people whom you invite can see your application here. You answer for what they do with it. Keep the e-mail \
addresses of its owners working, so that we can reach you.

## Changes

When these terms change we ask you to agree again. You can stop at any time by deleting your application.
"""
