'use strict';
// What every peer in JavaScript answers: the bytes that jPulse answers.

const CTX = {username: '', ip: '127.0.0.1'};

exports.answerTo = (message) => ({success: true, data: {...message, username: '', ctx: CTX}});
